"""What can go wrong between the agent and the bridge, and what the patron may decide.

::

    AgentError
    ├ BridgeCallError
    │  ├ BridgeUnreachable          no answer; after a response was sent it is unknown whether it counted
    │  ├ BridgeProblem(slug, …)     an answer, and it is no
    │  └ BridgeAnswerMalformed      an answer that cannot be
    ├ GivenUp                       the patron entered no PIN
    ├ OutputUnavailable(device)     the way to the self-check machine is not there
    ├ PinTooLate                    the PIN came when the bridge no longer took the answer
    └ WrongSettings                 the agent cannot run like this
"""

from __future__ import annotations

from collections.abc import Mapping


class AgentError(Exception):
    """Base of the tree; never raised itself."""


class BridgeCallError(AgentError):
    """A call to the bridge did not succeed; never raised itself."""


class BridgeUnreachable(BridgeCallError):
    """No answer. After a signature was sent it is unknown whether it counted."""


class BridgeAnswerMalformed(BridgeCallError):
    """The answer is not one that the API gives: another program answers at this address."""


class BridgeProblem(BridgeCallError):
    """The bridge refused, as problem+json (RFC 9457).

    *slug* is the last part of ``type``; *data* are the members beyond those of the RFC.
    """

    def __init__(
        self, slug: str, *, status: int, title: str, detail: str | None, data: Mapping[str, object]
    ) -> None:
        super().__init__(slug)
        self.slug = slug
        self.status = status
        self.title = title
        self.detail = detail
        self.data = data


class GivenUp(AgentError):
    """The patron entered no PIN, or three times something that is none. No try was spent."""


class OutputUnavailable(AgentError):
    """The token cannot be handed to the self-check machine: *device* is missing, busy or refuses."""

    def __init__(self, device: str, why: str) -> None:
        super().__init__(f"{device}: {why}")
        self.device = device
        self.why = why


class PinTooLate(AgentError):
    """The PIN was entered when the bridge would no longer take the signature. No try was spent."""


class WrongSettings(AgentError):
    """The agent cannot run with these settings; the text says why and holds no secret."""
