"""The embedded PostgreSQL and Valkey for one machine.

``start(home)`` makes sure they run and returns their addresses; ``stop(running)`` stops the servers without users.
"""

from slmstudio.stack.control import Running, start, stop
from slmstudio.stack.errors import StackError

__all__ = ["Running", "StackError", "start", "stop"]
