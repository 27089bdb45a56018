"""How favourable posts, and news among them, are judged by hour and currency: CryptoPanic and its votes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from engine.errors import DataError
from engine.market.finding import Finding, Reading
from resources.feeds.connectors.connector import Clock, observations, unavailable
from resources.feeds.connectors.http import JsonClient, Secret
from resources.feeds.connectors.moments import floor, from_iso
from resources.feeds.connectors.retry import MinimumInterval, Patience

__all__ = ["SocialScore", "score"]

SOURCE = "cryptopanic"
KEY_VARIABLE = "CRYPTOPANIC_API_KEY"
FAVOURABLE = ("positive", "liked")
UNFAVOURABLE = ("negative", "disliked")
NEWS = "news"
"""``kind`` of a post that is an article; others are videos, podcasts and posts on social networks."""
HOUR = timedelta(hours=1)


def score(votes: Sequence[Mapping[str, int]]) -> float | None:
    """Share of favourable among the votes that take a side, over all posts; None where nobody voted.

    ``positive`` and ``liked`` are favourable, ``negative`` and ``disliked`` are not; ``important``,
    ``saved``, ``lol``, ``toxic`` and ``comments`` judge the post and not the currency.
    """
    favourable = sum(int(post.get(name) or 0) for post in votes for name in FAVOURABLE)
    unfavourable = sum(int(post.get(name) or 0) for post in votes for name in UNFAVOURABLE)
    return favourable / (favourable + unfavourable) if favourable + unfavourable else None


class SocialScore:
    """Reads ``GET posts/`` page by page, newest first, and scores each hour that has ended.

    ``social_score`` is over the votes on all posts, ``news_score`` over those on posts of kind ``news``.

    Votes go on coming in after the hour, and the service shows only today's tally. A score is therefore never
    dated back: it becomes available when it was read, also where the hour is long past, and reading it again
    later may give a new vintage. An hour without votes has no row.

    Pages come newest first, so nothing is yielded before all are there: an interrupted reading leaves
    nothing, rather than a hole that the next one would not see. How far back the service answers depends on
    the plan; if it does not reach ``start``, the hours before are reported, and the first one, half read, is
    left out.

    The key comes from the environment variable ``CRYPTOPANIC_API_KEY`` and appears in no log and no error.

    Parameters
    ----------
    base_url : str
        Address of the API for the plan in use.
    patience : Patience
        Retries, waits and deadline.
    min_interval : float
        Least seconds between requests.
    """

    table = "social"

    def __init__(
        self,
        base_url: str = "https://cryptopanic.com/api/developer/v2",
        *,
        patience: Patience | None = None,
        min_interval: float = 1.0,
    ) -> None:
        self._base_url, self._patience = base_url, patience or Patience()
        self._interval = MinimumInterval(min_interval, self._patience.sleep)

    def pages(self, symbols: Sequence[str], start: datetime, end: datetime, now: Clock) -> Iterator[Reading]:
        """See `Connector.pages`. One page."""
        secret = Secret.from_environment(KEY_VARIABLE, place="query", name="auth_token")
        if secret is None:
            cause = f"environment variable {KEY_VARIABLE} is not set"
            yield observations((), [unavailable(self.table, "social_score, news_score", "no key", cause)])
            return
        codes = {symbol: symbol.partition("/")[0].upper() for symbol in symbols}
        with JsonClient(
            self._base_url, interval=self._interval, patience=self._patience, secret=secret
        ) as client:
            posts, reached = self._posts(client, sorted(set(codes.values())), start)
        fetched_at = now()
        votes: dict[tuple[str, str, datetime], list[Mapping[str, int]]] = defaultdict(list)
        for post in posts.values():
            hour = floor(from_iso(post["published_at"]), HOUR)
            for code in {named["code"] for named in post.get("instruments") or post.get("currencies") or ()}:
                for series in ("social_score", "news_score")[: 1 + (post.get("kind") == NEWS)]:
                    votes[series, code, hour].append(post.get("votes") or {})
        first = start if reached is not None and reached <= start else _next_hour(reached or fetched_at)
        rows = [
            (series, symbol, hour, fetched_at, value, SOURCE)
            for symbol, code in codes.items()
            for (series, named, hour), given in votes.items()
            if named == code and first <= hour < end and hour + HOUR <= fetched_at
            if (value := score(given)) is not None
        ]
        yield observations(rows, [_out_of_reach(start, first)] if first > start else [])

    def _posts(
        self, client: JsonClient, codes: Sequence[str], start: datetime
    ) -> tuple[dict[int, dict[str, Any]], datetime | None]:
        """Collect posts by id back to ``start``, and the moment of the oldest, if there is any."""
        posts: dict[int, dict[str, Any]] = {}
        reached: datetime | None = None
        url, params = "posts/", {"currencies": ",".join(codes), "public": "true"}
        while True:
            body = client.get(url, params).body
            if not isinstance(body, dict) or not isinstance(body.get("results"), list):
                said = body.get("info", body) if isinstance(body, dict) else body
                raise DataError(f"answer has no list 'results': {str(said)[:120]}", source=SOURCE)
            known = len(posts)
            for post in body["results"]:
                posts.setdefault(post["id"], post)
                published = from_iso(post["published_at"])
                reached = published if reached is None else min(reached, published)
            if not body.get("next") or (reached is not None and reached < start):
                return posts, reached
            if len(posts) == known:
                raise DataError("no progress: a page brings no new post", source=SOURCE)
            url, params = body["next"], {}


def _next_hour(moment: datetime) -> datetime:
    return floor(moment, HOUR) + HOUR


def _out_of_reach(start: datetime, first: datetime) -> Finding:
    return Finding(
        "raw.social",
        "social_score, news_score",
        "gap",
        "info",
        start,
        first,
        (first - start) // HOUR,
        "the plan does not reach back to the start asked for; read it more often",
        "the service shows recent posts only",
    )
