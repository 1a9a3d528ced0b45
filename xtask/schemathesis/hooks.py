"""What the document can't say of its values: which globs are ones, and what a component is.

Read by schemathesis. `SLUICE_COMPONENT` names a component that the gateway takes, `SLUICE_KEY_ID` is the id of the key that
all requests have.
"""

import os
import re
import uuid
import zlib

import schemathesis
from hypothesis import strategies as st

with open(os.environ["SLUICE_COMPONENT"], "rb") as file:
    COMPONENT = file.read()


def component_with(text: str) -> bytes:
    """The component with a custom section, so that its digest is another."""
    name, data = b"tried", text.encode()
    section = bytes([len(name)]) + name + data
    return COMPONENT + bytes([0, len(section)]) + section


schemathesis.openapi.format(
    "binary",
    # A few, so that the same bytes come again, too.
    st.sampled_from(["a", "b", "c"]).map(component_with),
)

schemathesis.openapi.format(
    "glob",
    st.one_of(
        st.sampled_from(["*", "**", "https://api.example.com/*", "orders", "stripe-key@api.stripe.com", "{a,b}", "[a-z]"]),
        # Any text without the characters that need a partner; a host, which is ASCII, begins after `@` or `://`.
        st.text(st.characters(exclude_characters="[]{}\\@:", exclude_categories=("Cs",)), min_size=1, max_size=60),
        st.text(st.characters(exclude_characters="[]{}\\", max_codepoint=127), min_size=1, max_size=60),
    ),
)


@schemathesis.deserializer("application/wasm")
def component(ctx, response):
    """A download is a component as it was uploaded, and checked as the text of its bytes."""
    return response.content.decode("latin-1")


UPLOAD = ("POST", "/api/v1/wasm/modules")
NEW_KEY = ("POST", "/api/v1/keys")
TIME = re.compile(r"\d{4}(-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d))")


def is_positive(case) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def filter_case(ctx, case) -> bool:
    """Drops what is tried as a wrong text and is none: a text that is "no glob", since which those are is not known and most
    are globs, and a null "of the wrong format" where the document has null beside the text."""
    data = case.meta.phase.data if case.meta is not None else None
    description, place = getattr(data, "description", None) or "", getattr(data, "location", None) or ""
    if "violates `format`" not in description:
        return True
    passed_over = ("expires_at", "resource", "modules", "jobs", "NameGlobs", "permissions")
    return not any(name in description + place for name in passed_over)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Of valid requests, what a document can't say: times to come, signatures that hold, a key that is needed on."""
    operation = (case.method.upper(), case.path)
    if operation == UPLOAD and is_positive(case) and isinstance(case.body, dict):
        # One that is made up never holds, so most uploads go without; the others see that it is refused.
        if zlib.crc32(repr(sorted(case.body.items())).encode()) % 8:
            case.body = {part: value for part, value in case.body.items() if part not in ("signature", "key_id")}
            # A file can't be held against a schema: without this a changed form counts as invalid from here on.
            case._record_starting_state()
    if operation == NEW_KEY and is_positive(case) and isinstance(case.body, dict):
        end = case.body.get("expires_at")
        if isinstance(end, str) and (time := TIME.fullmatch(end)):
            case.body = {**case.body, "expires_at": "2999" + time[1].replace("-02-29", "-02-28")}
    # Without it everything after would be 401.
    if case.method.upper() == "DELETE" and (case.path_parameters or {}).get("key") == os.environ["SLUICE_KEY_ID"]:
        case.path_parameters = {**case.path_parameters, "key": str(uuid.uuid4())}


@schemathesis.check
def valid_call_refused_for_its_limits_only(ctx, response, case):
    """A call as the document has it is refused with 400 only where the module's own limits are lower."""
    if not case.path.endswith("/invoke") or not is_positive(case) or response.status_code != 400:
        return
    mistakes = response.json().get("errors", [])
    lower = [one for one in mistakes if one["code"] == "out-of-range" and one["path"].startswith("/limits/")]
    assert mistakes and lower == mistakes, f"a valid call was refused: {response.text}"


@schemathesis.check
def valid_upload_refused_for_its_signature_only(ctx, response, case):
    """No signature that is made up holds: an upload as the document has it is refused for that and nothing else."""
    is_upload = (case.method.upper(), case.path) == UPLOAD
    if not is_upload or not is_positive(case) or response.status_code not in (400, 422):
        return
    signed = {"signature", "key_id"} & set(case.body)
    assert signed, f"a valid upload was refused: {response.text}"
    problem = response.json()
    if response.status_code == 422:
        assert problem["code"] in ("unknown-key", "invalid-signature"), f"a valid upload was refused: {response.text}"
        return
    paths = [one["path"] for one in problem.get("errors", [])]
    assert paths and set(paths) <= {"signature", "key_id"}, f"a valid upload was refused: {response.text}"
