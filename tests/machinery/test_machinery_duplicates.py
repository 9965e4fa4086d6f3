"""Repeated and unknown fields in the order of the document."""

import json

from sublet.kinds import schemas
from sublet.machinery import duplicates
from sublet.machinery.schema import Schema

DEPLOYMENT = schemas.definition("1.36", "apps", "v1", "Deployment")
assert isinstance(DEPLOYMENT, Schema)


def found(text: str) -> list[str]:
    return duplicates.problems(text.encode(), json.loads(text), DEPLOYMENT)


def test_unknown_and_repeated_fields_come_as_they_stand_in_the_text() -> None:
    text = (
        '{"spec": {"unknown1": 1, "unknownDupe": 1, "unknownDupe": 2, "paused": true, "paused": false, '
        '"template": {"spec": {"containers": [{"nested": 1, "image": "a", "image": "b"}]}}}}'
    )
    assert found(text) == [
        'unknown field "spec.unknown1"',
        'unknown field "spec.unknownDupe"',
        'duplicate field "spec.paused"',
        'unknown field "spec.template.spec.containers[0].nested"',
        'duplicate field "spec.template.spec.containers[0].image"',
    ]


def test_repeated_keys_of_maps_are_named() -> None:
    assert found('{"metadata": {"labels": {"a": "1", "a": "2"}}}') == ['duplicate field "metadata.labels.a"']


def test_without_repeated_fields_nothing_is_looked_for() -> None:
    assert found('{"spec": {"unknown": 1}}') == []
