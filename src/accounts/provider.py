"""The OpenID Connect provider: the way there, and who it says came back.

Authlib speaks the protocol and checks the claims, joserfc the signatures; here stands what they are to insist on.
Nothing is kept between two sign-ins: they are rare, and so a key that was changed or an address that has moved is no
case of its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
from authlib.common.security import is_secure_transport
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.jws import JWSRegistry
from msgspec import Struct

from ..errors import Invalid, ProviderFailed, ProviderUnavailable

log = logging.getLogger(__name__)

Metadata = dict[str, Any]

SCOPE = "openid profile email"
# Those with a public and a private key. With a shared one (HS256) whoever can check a signature could make it as well.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
KEY_TYPES = ("RSA", "EC", "OKP")
LEEWAY = 120  # seconds by which the provider's clock may differ from ours
PATIENCE = 15.0  # seconds for all that is asked of the provider at one time
LONGEST_SUBJECT = 255  # characters, says OpenID Connect
NAMES = ("preferred_username", "email", "nickname")  # what somebody may be called here, the best first
# What RFC 6749 (5.2) lets a token endpoint say. Nothing else of what it says gets into the log.
REFUSALS = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type")


class Identity(Struct, frozen=True):
    """Who somebody is at their provider. `name` is what they would be called here; it may be empty, or somebody's."""

    issuer: str
    subject: str
    name: str


class Request(Struct, frozen=True):
    """What goes to the provider with somebody and has to come back."""

    redirect_uri: str
    state: str
    nonce: str
    verifier: str


class Provider:
    """`name`: what people call it. `client_secret` empty: riverrun is a public client, and PKCE alone protects it."""

    def __init__(self, name: str, issuer: str, client_id: str, client_secret: str = "") -> None:
        self.name = name
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret

    async def address(self, request: Request) -> str:
        """Where somebody signs in. Raises ProviderFailed or ProviderUnavailable."""
        async with asking(self.name, "its configuration"), self._client() as client:
            metadata = await self._discover(client)
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                redirect_uri=request.redirect_uri,
                state=request.state,
                nonce=request.nonce,
                code_verifier=request.verifier,
            )
            return str(address)

    async def identify(self, request: Request, code: str, issuer: str) -> Identity:
        """Who came back with this code. `issuer`: whom the answer says that it is from (RFC 9207), if it does.

        Raises Invalid, ProviderFailed or ProviderUnavailable.
        """
        async with asking(self.name, "a token"), self._client() as client:
            metadata = await self._discover(client)
            says_so = metadata.get("authorization_response_iss_parameter_supported")
            if issuer != metadata["issuer"] and (issuer or says_so):
                raise ValueError("the answer is another issuer's")
            client.token_endpoint_auth_method = self._authentication(metadata)
            token = await client.fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                redirect_uri=request.redirect_uri,
                code_verifier=request.verifier,
            )
            keys = signing_keys(await fetch(client, metadata["jwks_uri"]))
            claims = self._believe(token, keys, metadata["issuer"], request.nonce)
            name = name_in(claims) or name_in(await userinfo(client, metadata, claims["sub"]))
            return Identity(metadata["issuer"], claims["sub"], name)

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self._client_id,
            self._client_secret or None,
            scope=SCOPE,
            code_challenge_method="S256",
            timeout=httpx2.Timeout(PATIENCE),
        )

    async def _discover(self, client: AsyncOAuth2Client) -> Metadata:
        metadata = await fetch(client, get_well_known_url(self._issuer, external=True))
        for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not is_secure_transport(metadata[name]):
                raise ValueError(f"{name} is not https")
        if metadata["issuer"].rstrip("/") != self._issuer.rstrip("/"):
            raise ValueError("it calls itself otherwise than RIVERRUN_OIDC_ISSUER does")
        return metadata

    def _authentication(self, metadata: Metadata) -> str:
        """How riverrun shows the provider that it is the one that is known there."""
        if not self._client_secret:
            return "none"
        supported = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return "client_secret_basic" if "client_secret_basic" in supported else "client_secret_post"

    def _believe(self, token: Mapping[str, Any], keys: KeySet, issuer: str, nonce: str) -> CodeIDToken:
        """What an ID token says, when all of it is as it has to be. Raises JoseError, KeyError or ValueError."""
        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        signed = jwt.decode(token["id_token"], keys, registry=registry)
        claims = CodeIDToken(
            signed.claims,
            signed.header,
            {
                "iss": {"essential": True, "value": issuer},
                "aud": {"essential": True, "value": self._client_id},
                "sub": {"essential": True},
            },
            {"nonce": nonce, "client_id": self._client_id, "access_token": token.get("access_token")},
        )
        claims.validate(leeway=LEEWAY)
        if len(claims["sub"]) > LONGEST_SUBJECT or not claims["sub"].isprintable():
            raise ValueError("a subject is not like this")
        return claims


@asynccontextmanager
async def asking(name: str, what: str) -> AsyncIterator[None]:
    """In time, and with errors for people: what the provider says is neither shown nor logged, only its kind."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except OAuthError as failure:
        reason = failure.error if failure.error in REFUSALS else "an error"
        log.warning("The sign-in provider was asked for %s and answered with %s.", what, reason)
        if reason == "invalid_grant":
            raise Invalid("This sign-in has expired, or it was used before. Sign in again.") from None
        raise ProviderFailed(name) from None
    except (httpx2.TransportError, TimeoutError) as failure:
        log.warning("The sign-in provider was asked for %s and cannot be reached: %s.", what, type(failure).__name__)
        raise ProviderUnavailable(name) from None
    except httpx2.HTTPStatusError as failure:
        status = failure.response.status_code
        log.warning("The sign-in provider was asked for %s and answered with status %s.", what, status)
        raise (ProviderUnavailable if failure.response.is_server_error else ProviderFailed)(name) from None
    except (JoseError, httpx2.InvalidURL, ValueError, LookupError, TypeError, AttributeError) as failure:
        which = f" ({failure.claim})" if isinstance(failure, ClaimError) else ""
        log.warning("The sign-in provider's answer cannot be believed: %s%s.", type(failure).__name__, which)
        raise ProviderFailed(name) from None


async def fetch(client: AsyncOAuth2Client, url: str) -> dict[str, Any]:
    answer = await client.request("GET", url, withhold_token=True)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def signing_keys(published: Mapping[str, Any]) -> KeySet:
    """Those that can be used here; a provider may publish others beside them."""
    keys = []
    for key in published["keys"]:
        if key.get("kty") in KEY_TYPES and key.get("use", "sig") == "sig":
            with suppress(JoseError, ValueError):
                keys.append(JWKRegistry.import_key(key))
    return KeySet(keys)


async def userinfo(client: AsyncOAuth2Client, metadata: Metadata, subject: str) -> Mapping[str, Any]:
    """What else the provider tells of somebody. Only a name hangs on it: without it one is called something else."""
    address = metadata.get("userinfo_endpoint")
    if not address or not is_secure_transport(address):
        return {}
    with suppress(httpx2.HTTPError, OAuthError, ValueError, KeyError):
        answer = await client.get(address)
        told = answer.raise_for_status().json()
        if isinstance(told, dict) and told.get("sub") == subject:
            return told
    return {}


def name_in(claims: Mapping[str, Any]) -> str:
    return next((name for key in NAMES if isinstance(name := claims.get(key), str) and name.strip()), "")
