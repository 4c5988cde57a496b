"""The embedded PostgreSQL and Valkey for one machine.

``start(home)`` makes sure they run and returns their addresses; ``stop(running)`` stops the servers without users.
"""

from slmstudio.stack.errors import StackError
from slmstudio.stack.lifecycle import Running, start, stop

__all__ = ["Running", "StackError", "start", "stop"]
