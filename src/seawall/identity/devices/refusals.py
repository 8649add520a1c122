"""Why a device's proof was refused, as a stable code; and the answers that the browser understands.

403 with a challenge means "sign this one", and any other 4xx means "this session is over" (DBSC §8.8).
"""

from __future__ import annotations

from seawall.core.errors import Forbidden, NotSignedIn, SeawallError

CHALLENGE_HEADER = "Secure-Session-Challenge"


class ProofRefused(SeawallError):
    """A check of a proof did not hold.

    Args:
        reason: a stable code such as `challenge-over`; recorded, never shown.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WrongKey(ProofRefused):
    """The proof signs a live challenge of this session with another key: somebody holds the cookies without the
    device.
    """

    def __init__(self) -> None:
        super().__init__("wrong-key")


class ProofWanted(Forbidden):
    """There is no proof, or one that is no longer fresh; here is a challenge for the next."""

    code = "device-proof-wanted"
    title = "Prove the device's key"

    def __init__(self, challenge: str, name: str) -> None:
        super().__init__("Sign the challenge with the key of this session's device.")
        self.headers[CHALLENGE_HEADER] = f'"{challenge}";id="{name}"'


class BindingOver(NotSignedIn):
    """The session is over, or was never bound under this name. The browser forgets its key."""

    code = "device-unknown"
    title = "This device's session is over"
