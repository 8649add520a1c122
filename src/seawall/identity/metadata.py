"""What a provider says about itself: OpenID Connect Discovery 1.0, RFC 8414."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seawall.identity.fetching import is_provider_url
from seawall.identity.refusals import SignInRefused
from seawall.identity.tokens import ALGORITHMS


@dataclass(frozen=True, slots=True)
class Metadata:
    """What we use of a provider's discovery document."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    algorithms: frozenset[str]
    iss_advertised: bool
    """`authorization_response_iss_parameter_supported`: then an answer without `iss` is refused."""
    par_endpoint: str | None = None
    """Where the authorization request is pushed (RFC 9126), if the provider takes it."""

    @classmethod
    def parse(cls, document: dict[str, Any], issuer: str, *, production: bool) -> Metadata:
        """Check a discovery document.

        Raises:
            SignInRefused: it is not this issuer's, or offers nothing that we accept.
        """
        if document.get("issuer") != issuer:
            raise SignInRefused("metadata-issuer")
        urls = [document.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        par = document.get("pushed_authorization_request_endpoint")
        if not all(is_provider_url(url, production=production) for url in [*urls, *([] if par is None else [par])]):
            raise SignInRefused("metadata-endpoint")
        if par is None and document.get("require_pushed_authorization_requests") is True:
            raise SignInRefused("metadata-endpoint")
        methods = document.get("code_challenge_methods_supported")
        if methods is not None and (not isinstance(methods, list) or "S256" not in methods):
            raise SignInRefused("metadata-pkce")
        return cls(
            authorization_endpoint=str(urls[0]),
            token_endpoint=str(urls[1]),
            jwks_uri=str(urls[2]),
            algorithms=_algorithms(document.get("id_token_signing_alg_values_supported", ["RS256"])),
            iss_advertised=document.get("authorization_response_iss_parameter_supported") is True,
            par_endpoint=par,
        )


def _algorithms(offered: object) -> frozenset[str]:
    """What both sides take. The provider's list can only narrow ours."""
    known = [name for name in offered if isinstance(name, str)] if isinstance(offered, list) else []
    common = ALGORITHMS & frozenset(known)
    if not common:
        raise SignInRefused("metadata-algorithms")
    return common
