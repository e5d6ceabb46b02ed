"""What schemathesis cannot know from the document. Each exception stands with its reason."""

import itertools
import os
from urllib.parse import unquote

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

# The access token of the run: a case must not end it.
OWN_TOKEN_ID = os.environ["OWN_TOKEN_ID"]

# Rules between two fields, or between a field and what is stored: the schema of a plain object cannot say them.
RULES_BETWEEN_FIELDS = [
    "body and query name different users",
    "send user_id: this access token is not bound to a user",
    "payer and receiver are the same wallet",
    "two tiers begin at the same amount",
    "two coupon kinds have the same name",
    "a coupon kind has either an amount_off or a percent_off",
    "the role user is bound to a user",
    "only an access token of the role user has a user",
    "an access token of the role user needs a user",
    "bounds stands alone",
    "bounds is",
    "valid_from is before valid_until",
    # A case may go on with a member of an answer that is null: `refunds` of an entry that is not a refund.
    "an entry is named by its number",
    "since is after until",
    "unchanged needs the `line` of an earlier audit",
    "max_off is for percentages",
    "was revoked or has expired: mint another",
    "a token that rotates itself",
    "an item's own key is not the batch's Idempotency-Key",
    "an atomic batch has one key",
    "wait_ms is for a page with order=asc",
    "send either ids",
    "this secret was used for",
    "the lock of a wallet cannot rest",
    "min_hold_ms does not go with any",
    "any takes no locks of wallets",
    "the role locker takes no locks of wallets",
    "only an access token of the role locker has a prefix",
    # It is bounded in bytes, which a schema cannot count.
    "prefix is the beginning of a lock id",
    # An item of a batch is described with the fields of all verbs; each verb takes some of them and needs some.
    "there is no field",
    "is missing",
]
RULES_OF_REPORTS = ["1000 periods", "1,000 periods"]

keys = itertools.count()


def is_negative(case):
    return case.meta is not None and case.meta.generation.mode.is_negative


@schemathesis.hook
def before_call(context, case, **kwargs):
    if case.operation.path.startswith("/v1/tokens/{id}"):
        if unquote(str(case.path_parameters.get("id", ""))) == OWN_TOKEN_ID:
            case.path_parameters["id"] = "tok:unknown"
    headers, query = case.headers, case.query
    # A long wait is not what is looked for; one that is too long stays, to be refused.
    longest = 30_000 if "entries" in case.operation.path else 86_400_000
    for fields in (query, case.body):
        wait_ms = fields.get("wait_ms", "") if isinstance(fields, dict) else ""
        if isinstance(wait_ms, float) and wait_ms.is_integer():
            wait_ms = int(wait_ms)  # 4000.0 is an integer of JSON
        if str(wait_ms).isdigit() and 50 < int(wait_ms) <= longest:
            fields["wait_ms"] = 50
    if is_negative(case):
        return
    # A key that was used for another request is refused, so each case has its own.
    if headers and "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = f"case-{next(keys)}"
    # A lock token of no lease stops every request that it could protect.
    if headers and not case.operation.path.startswith("/v1/locks"):
        headers.pop("Lock-Token", None)
    # Cases before this one hold locks: waiting for them is not what is looked for.
    if headers and "Prefer" in headers:
        headers["Prefer"] = "wait=0"
    # A cursor is the `next` of an answer and cannot be made up.
    if query:
        query.pop("after", None)
    if headers:
        headers.pop("Last-Event-ID", None)


@schemathesis.check
def valid_is_accepted(ctx, response, case):
    """positive_data_acceptance, but for rules between fields."""
    try:
        return positive_data_acceptance(ctx, response, case)
    except Failure:
        rules = RULES_BETWEEN_FIELDS + RULES_OF_REPORTS
        if response.status_code == 400 and any(rule in response.json()["detail"] for rule in rules):
            return None
        raise


@schemathesis.check
def invalid_is_refused(ctx, response, case):
    """negative_data_rejection, but for a body that the server reads as a valid one, and for items of a batch."""
    try:
        return negative_data_rejection(ctx, response, case)
    except Failure:
        # Each item of a batch has an answer of its own, within a 200.
        if case.operation.path == "/v1/batch" or is_read_leniently(case.body):
            return None
        raise


def is_read_leniently(value):
    """True with a null, which counts as not sent, a number, which is read as its text, or a text that is read as a
    number or a flag: what old clients and forms send goes on working."""
    if isinstance(value, dict):
        return any(map(is_read_leniently, value.values()))
    if isinstance(value, list):
        return any(map(is_read_leniently, value))
    return value is None or isinstance(value, (int, float)) or value in ("true", "false") or str(value).isdigit()
