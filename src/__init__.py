"""A self-hosted web application in which people watch agents work, live."""

__version__ = "0.1.0"
