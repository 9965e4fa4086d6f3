"""ServiceAccount."""

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.machinery.kind import Object


def _prepare_create(account: Object) -> None:
    """Of a Secret only the name is kept: it is always of the account's own namespace."""
    if secrets := account.get("secrets"):
        account["secrets"] = [{key: each[key] for key in ("name",) if key in each} for each in secrets]


def _prepare_update(new: Object, _old: Object) -> None:
    _prepare_create(new)


KIND = builtin(
    "serviceaccounts",
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    warnings=warn.service_account,
    cells=show.name_and_age,
)
