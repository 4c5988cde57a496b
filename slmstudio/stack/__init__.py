"""The embedded PostgreSQL and Valkey for one machine.

``start(home)`` makes sure they run and returns their addresses; ``stop(running)`` ends what nobody uses any more.
"""

from slmstudio.stack.control import Running, start, stop
from slmstudio.stack.errors import StackError

__all__ = ["Running", "StackError", "start", "stop"]
