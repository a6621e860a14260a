"""What the audit log and the list of sign-ins keep in short, in words for people."""

import re

from ..accounts.person import UNKNOWN

DEEDS = {
    "set_up": "set riverrun up",
    "signed_in": "signed in",
    "sign_in_failed": "gave a wrong",
    "password_changed": "changed the password of",
    "password_reset": "used a link for a new password of",
    "account_made": "made the account",
    "invited": "made an invitation for a new",
    "invitation_used": "used an invitation and is now",
    "password_link": "made a link for a new password of",
    "invitation_withdrawn": "took back an invitation for a new",
    "password_link_withdrawn": "took back a link for a new password of",
    "role_changed": "changed a role:",
    "account_closed": "closed the account",
    "account_opened": "opened the account again:",
    "shared": "shared a project:",
    "unshared": "ended the sharing of a project:",
    "account_linked": "signs in from now on",
    "provider_sign_in_failed": "was not let in at the provider:",
    "tool_allowed": "allowed a tool for good:",
    "tool_withdrawn": "took back that a tool is allowed for good:",
    "tools_unasked": "lets tools be used without asking anybody:",
    "tools_asked": "has people asked before tools are used again:",
    "token_made": "made an API token:",
    "token_revoked": "revoked the API token",
    "token_used": "used an API token:",
}
# The first that is found: browsers say that they are others, too.
BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def deed(action: str) -> str:
    return DEEDS.get(action, action.replace("_", " "))


def who(name: str) -> str:
    return "Somebody unknown" if not name or name.startswith(UNKNOWN) else name


def browser(agent: str) -> str:
    """From its User-Agent; of a program the first word."""
    name = next((name for sign, name in BROWSERS if f"{sign}/" in agent or f"{sign}iOS/" in agent), "")
    system = next((name for sign, name in SYSTEMS if sign in agent), "")
    if name or system:
        return " on ".join(filter(None, (name or "A browser", system)))
    return re.split(r"[/\s]", agent.strip(), maxsplit=1)[0] or "A program that does not say what it is"
