"""The API server of the local target: what it answers, without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from devloop.cancel import Cancel
from devloop.clients.kube import MERGE_PATCH, SSA, ByteStream, Query
from devloop.local.kinds import NAMESPACES
from devloop.local.logs import LogSource, opened
from devloop.local.refusals import conflict, not_found, refused
from devloop.local.routes import REVIEWS, Route, about, nowhere, route
from devloop.local.selectors import field_matcher
from devloop.local.store import Store
from devloop.local.writes import Writes
from devloop.model import Object
from devloop.pods import PODS


class Api:
    """Every method raises `ApiError` for what is refused. Safe from every thread."""

    def __init__(self, store: Store, logs: LogSource) -> None:
        self.store = store
        self._logs = logs
        self._writes = Writes(store)

    def close(self) -> None:
        self._writes.close()

    def request(self, method: str, path: str, query: Query, body: Object | None, content_type: str) -> Object:
        if method == "GET" and (told := about(path)):
            return told
        if method == "POST" and path == REVIEWS:
            return {**(body or {}), "status": {"allowed": True}}
        where, dry = route(path), query.get("dryRun") == "All"
        if where.sub:
            raise nowhere()
        match method:
            case "GET":
                return self._get(where) if where.name else self._list(where, query)
            case "POST" if body is not None and not where.name:
                return self._writes.create(where.kind, _placed(where, body), dry=dry)
            case "PATCH" if body is not None and where.name and content_type == SSA:
                return self._writes.apply(where.kind, _placed(where, body), dry=dry)
            case "PATCH" if body is not None and where.name and content_type == MERGE_PATCH:
                return self._writes.patch(where.kind, where.namespace, where.name, body, dry=dry)
            case "DELETE" if where.name:
                return self._delete(where, body or {})
        raise refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    @contextmanager
    def log(self, path: str, query: Query, cancel: Cancel) -> Iterator[ByteStream]:
        """The body of a pod's ``/log``."""
        where = route(path)
        if (where.kind, where.sub) != (PODS, "log"):
            raise nowhere()
        with opened(self._logs, self._get(where), query, cancel) as stream:
            yield stream

    def chosen(self, where: Route, query: Query) -> list[Object]:
        """The objects of a collection that the query's selectors choose."""
        fields = field_matcher(str(query.get("fieldSelector", "")))
        return [obj for obj in self.store.list(where.kind, where.namespace, str(query.get("labelSelector", ""))) if fields(obj)]

    def _get(self, where: Route) -> Object:
        found = self.store.get(where.kind, where.namespace, where.name)
        if found is None:
            raise not_found(where.kind, where.name)
        return found

    def _list(self, where: Route, query: Query) -> Object:
        with self.store.lock:
            return {"apiVersion": where.kind.api_version, "kind": f"{where.kind.kind}List",
                    "metadata": {"resourceVersion": self.store.version}, "items": self.chosen(where, query)}

    def _delete(self, where: Route, options: Object) -> Object:
        """Dependents go with it (`controllers.garbage`), in the background, whatever the options say of that."""
        live = self._get(where)
        wanted = options.get("preconditions") or {}
        version = live["metadata"]["resourceVersion"]
        if wanted.get("resourceVersion", version) != version:
            raise conflict(where.kind, where.name, f"the ResourceVersion in the precondition ({wanted['resourceVersion']}) does not match "
                           f"the ResourceVersion in record ({version}). The object might have been modified")
        if (where.kind, where.name) == (NAMESPACES, "default"):
            raise refused(403, "Forbidden", 'namespaces "default" is forbidden: this namespace may not be deleted')
        self.store.delete(where.kind, where.namespace, where.name, uid=wanted.get("uid", ""), grace=options.get("gracePeriodSeconds"))
        return self.store.get(where.kind, where.namespace, where.name) or live


def _placed(where: Route, body: Object) -> Object:
    """The body with the kind, namespace and name of its path, which it must not contradict."""
    kind, meta = where.kind, body.get("metadata") or {}
    if (body.get("apiVersion", kind.api_version), body.get("kind", kind.kind)) != (kind.api_version, kind.kind):
        raise refused(400, "BadRequest", f"the API version in the data ({body.get('apiVersion')}) does not match the expected API version "
                      f"({kind.api_version})")
    if meta.get("namespace", where.namespace) != where.namespace:
        raise refused(400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")
    if where.name and meta.get("name", where.name) != where.name:
        raise refused(400, "BadRequest", f"the name of the object ({meta['name']}) does not match the name on the URL ({where.name})")
    placed = {**meta, **({"namespace": where.namespace} if kind.namespaced else {}), **({"name": where.name} if where.name else {})}
    return {**body, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": placed}
