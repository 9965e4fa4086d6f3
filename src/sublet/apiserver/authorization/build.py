"""Puts the authorizers of one API server together."""

from __future__ import annotations

from dataclasses import dataclass

from sublet.apiserver.authorization.authorizer import Authorizer
from sublet.apiserver.authorization.bootstrap import node_rules
from sublet.apiserver.authorization.escalation import Escalation
from sublet.apiserver.authorization.node import NodeAuthorizer
from sublet.apiserver.authorization.rbac import RBAC
from sublet.apiserver.watchcache import WatchCaches


@dataclass(frozen=True, slots=True)
class Authorization:
    """Everything about what users may do. ``start`` it once the watch caches are started."""

    authorizer: Authorizer
    rbac: RBAC
    node: NodeAuthorizer
    escalation: Escalation

    def start(self) -> None:
        self.rbac.start()

    async def stop(self) -> None:
        await self.rbac.stop()
        await self.node.stop()


def build(caches: WatchCaches) -> Authorization:
    rbac = RBAC(caches)
    node = NodeAuthorizer(caches, node_rules())
    authorizer = Authorizer([node, rbac], rbac)
    return Authorization(authorizer, rbac, node, Escalation(authorizer, rbac))
