"""What every answer tells a browser: what our pages may do, and that nothing else is a page of ours."""

from collections.abc import Awaitable, Callable, Iterable

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

# Scripts and styles are files of ours, and text becomes HTML in one place only (trusted.js).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'{images}; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types riverrun"
)
# Of what is taken away as a file nothing can run, wherever a browser opens it.
FILE_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
UNUSED = (
    "accelerometer",
    "autoplay",
    "camera",
    "display-capture",
    "encrypted-media",
    "geolocation",
    "gyroscope",
    "hid",
    "idle-detection",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "picture-in-picture",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in UNUSED),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Otherwise the host of a link, which a model may have made of what was said, is looked up before it is followed.
    "X-DNS-Prefetch-Control": "off",
}


def protect(image_hosts: Iterable[str]) -> Callable[[Message, Scope], Awaitable[None]]:
    """A `before_send` hook. `image_hosts` are those whose images pages may load."""
    policy = POLICY.format(images="".join(f" https://{host}" for host in image_hosts))

    async def add(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        headers = MutableScopeHeaders.from_message(message)
        is_file = headers.get("Content-Disposition", "").startswith("attachment")
        headers.update({**HEADERS, "Content-Security-Policy": FILE_POLICY if is_file else policy})

    return add
