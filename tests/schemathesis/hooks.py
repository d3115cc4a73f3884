"""What schemathesis must know of this API that an OpenAPI document cannot say.

Two things only: requests that would get nowhere are led to where something is, and a failure is dropped where the API
is right and the check cannot know it. Each of those names its check, its problem and where it matters its member, and
says why; whatever else fails is a failure.
"""
import itertools
import json
import re
import uuid

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi import checks

# --- requests ---

# Goods of the demo shop with units.
GOODS = ("123", "125", "156")
turns = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Every request is an intent of its own, and every other one means whatever is there.

    Boundary values repeat, and the second request under a key is refused or answered from memory before anything else
    is looked at. Versions and cursors drawn at random name nothing. What does not have the form that is asked for stays
    as it is: it is what is tested.
    """
    headers, query = case.headers or {}, case.query or {}
    if well_formed(headers.get("Idempotency-Key"), r"[!-~]{1,128}"):
        headers["Idempotency-Key"] = uuid.uuid4().hex
    if well_formed(headers.get("If-Match"), r"[0-9]{1,20}") and case.meta.components[ParameterLocation.HEADER].mode.is_positive:
        # The generator of bounds takes the quotes of an entity tag for those of a JSON text and leaves them out.
        headers["If-Match"] = f'"{headers["If-Match"]}"'
    if well_formed(headers.get("If-Match"), r'"[0-9]{1,20}"') and next(turns) % 2:
        headers["If-Match"] = "*"
    if well_formed(query.get("cursor"), r"([0-9a-f]{2})+") and next(turns) % 2:
        del query["cursor"]


def well_formed(value, pattern):
    return isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII)


@schemathesis.hook
def map_body(context, body):
    """Numbers are written as integers where they are, and every other variant is one that is there.

    JSON Schema takes 2.0 for an integer. This API does not: a quantity that comes with a point was computed with
    fractions, and a number that stands for an id means its digits (`src/http/extract/member.rs`).
    """
    body = integers(body)
    if isinstance(body, dict) and well_formed(body.get("variantId"), r"[ -~]{1,128}") and next(turns) % 2:
        body = {**body, "variantId": GOODS[next(turns) % len(GOODS)]}
    return body


def integers(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [integers(one) for one in value]
    if isinstance(value, dict):
        return {name: integers(one) for name, one in value.items()}
    return value


# --- failures that are none ---

# Problems that tell of the shop, not of the bytes: the same request is served when the shop stands otherwise. 404, 409
# and 429 are known to schemathesis as such, these are not.
OF_THE_STATE = {
    "stale-version",  # 412: If-Match names a version, and it is another one
    "reservation-expired",  # 410
    "cart-abandoned",  # 410
    "history-too-old",  # 410
    "cursor-too-old",  # 410: a well-formed cursor of another epoch than the log's
    "cut-unreachable",  # 422: a log does not reach to the record or the moment that is asked for
}

# What two members may not be together, or a text that only the server can have made; by operation, and the member or
# parameter that the problem names (the problem itself where it names none).
NOT_IN_A_SCHEMA = {
    # A cursor is opaque: only what a list gave is one. Links carry those.
    ("GET", "/api/admin/quarantine", "cursor"),
    ("GET", "/api/admin/snapshots", "cursor"),
    ("GET", "/api/orders", "cursor"),
    ("GET", "/api/stock/reservations", "cursor"),
    ("GET", "/api/stock/variants", "cursor"),
    ("GET", "/api/stock/variants/{id}/history", "cursor"),
    ("GET", "/api/stock/variants/{id}/ledger", "cursor"),
    # Parameters of which one is needed, and no two may be: OpenAPI has no word for it.
    ("DELETE", "/api/stock/reservations", "reservationId"),
    ("DELETE", "/api/stock/reservations", "cartId"),
    ("GET", "/api/stock/variants/{id}/history", "number"),
    # Blanks beside the commas are let go, so that an id of blanks only is none.
    ("GET", "/api/stock/reservations/validate", "ids"),
    # Members that exclude each other also when one of them is null.
    ("POST", "/api/admin/restore", "snapshotId"),
    ("POST", "/api/admin/restore", "file"),
    ("POST", "/api/admin/restore", "toTime"),
    ("POST", "/api/admin/restore", "toNumber"),
    ("POST", "/api/admin/restore", "holds"),
    # Each variant once, where the rest of a line may differ.
    ("POST", "/api/orders/{id}/fulfil", "lines[].variantId"),
    ("POST", "/api/orders/{id}/cancel", "lines[].variantId"),
    ("POST", "/api/orders/{id}/return", "lines[].variantId"),
    # Lines of one variant are summed, and the sum has a bound.
    ("POST", "/api/stock/reservations/bulk", "lines"),
    # Not 0, which lies between the bounds.
    ("POST", "/api/stock/variants/{id}/adjustments", "delta"),
    # At most what the store's policy says at the time.
    ("POST", "/api/stock/reservations", "ttlSeconds"),
    ("POST", "/api/stock/reservations/bulk", "ttlSeconds"),
    # At most another member of the same policy.
    ("PUT", "/api/admin/policy", "cart.ttlSeconds"),
    ("PUT", "/api/admin/policy", "guest.ttlSeconds"),
    # A list in CSV or NDJSON is a text to the document; its lines are judged by `invalid-lines`.
    ("POST", "/api/stock/import", "invalid-lines"),
    # Not before opensAt, which JSON Schema cannot compare.
    ("POST", "/api/stock/variants", "closesAt"),
    ("PATCH", "/api/stock/variants/{id}", "closesAt"),
}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether it is one."""
    if isinstance(failure, checks.RejectedPositiveData):
        problem = json.loads(response.content)
        named = problem.get("member") or problem.get("parameter") or problem["code"]
        named = re.sub(r"\[[0-9]+\]", "[]", named)
        return not (problem["code"] in OF_THE_STATE or (case.method, case.path, named) in NOT_IN_A_SCHEMA)
    if isinstance(failure, checks.MissingHeaderNotRejected):
        # RFC 6585 made 428 for exactly this: a write that has to say which version it means.
        return not (response.status_code == 428 and failure.header_name == "If-Match")
    return True
