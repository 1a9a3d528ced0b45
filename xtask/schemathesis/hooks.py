"""What the document can't say of its values: which globs are ones, and what a component is.

Read by schemathesis. `SLUICE_COMPONENT` names a component that the gateway takes.
"""

import os

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
        # Any text without the characters that need a partner.
        st.text(st.characters(exclude_characters="[]{}\\", exclude_categories=("Cs",)), min_size=1, max_size=60),
    ),
)


@schemathesis.deserializer("application/wasm")
def component(ctx, response):
    """A download is a component as it was uploaded, and checked as the text of its bytes."""
    return response.content.decode("latin-1")


@schemathesis.check
def valid_call_refused_for_its_limits_only(ctx, response, case):
    """A call as the document has it is refused with 400 only where the module's own limits are lower."""
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if not case.path.endswith("/invoke") or not is_valid or response.status_code != 400:
        return
    mistakes = response.json().get("errors", [])
    lower = [one for one in mistakes if one["code"] == "out-of-range" and one["path"].startswith("/limits/")]
    assert mistakes and lower == mistakes, f"a valid call was refused: {response.text}"


@schemathesis.check
def valid_upload_refused_for_its_signature_only(ctx, response, case):
    """No signature that is made up holds: an upload as the document has it is refused for that and nothing else."""
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    is_upload = case.path == "/api/v1/wasm/modules" and case.method.upper() == "POST"
    if not is_upload or not is_valid or response.status_code not in (400, 422):
        return
    problem = response.json()
    if response.status_code == 422:
        assert problem["code"] in ("unknown-key", "invalid-signature"), f"a valid upload was refused: {response.text}"
        return
    paths = [one["path"] for one in problem.get("errors", [])]
    assert paths and set(paths) <= {"signature", "key_id"}, f"a valid upload was refused: {response.text}"
