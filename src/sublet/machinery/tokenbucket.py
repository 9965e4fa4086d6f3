"""How often something may happen: so many times at once, and so many times a second in the long run."""

from __future__ import annotations

from msgspec import Struct


class TokenBucket(Struct):
    """``burst`` tokens at most; each time takes one."""

    tokens: float
    at: float
    """When it was filled last: seconds of any clock, the same at each call."""

    def take(self, now: float, burst: float, per_second: float) -> bool:
        """Whether it may happen now."""
        self.tokens = min(burst, self.tokens + (now - self.at) * per_second)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
