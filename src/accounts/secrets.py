"""What stands in cookies, links and tokens.

Each is 256 random bits, so that no guessing leads back to it from the quick hash that is kept; a slow one, as passwords
need, would only make every request slow.
"""

from hashlib import sha256
from secrets import token_urlsafe


def new_secret() -> str:
    return token_urlsafe(32)


def hash_of(secret: str) -> str:
    return sha256(secret.encode(errors="replace")).hexdigest()
