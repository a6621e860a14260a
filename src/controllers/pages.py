"""Everything that a browser shows, by controller."""

from litestar import Controller

from .conversations import ConversationPages
from .messages import MessagePages
from .runs import RunPages

controllers: list[type[Controller]] = [ConversationPages, MessagePages, RunPages]
