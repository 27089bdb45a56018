"""Development activity: commits a day and their distinct authors, from GitHub's REST API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from engine.errors import DataError
from engine.market.finding import Finding, Reading
from resources.feeds.connectors.connector import Clock, observations, settled, unavailable
from resources.feeds.connectors.http import Answer, JsonClient, Secret
from resources.feeds.connectors.moments import DAY, floor, from_iso
from resources.feeds.connectors.retry import FetchError, MinimumInterval, Patience

__all__ = ["REPOSITORIES", "GitHubCommits"]

SOURCE = "github"
TOKEN_VARIABLE = "GITHUB_TOKEN"  # noqa: S105 - the name of a variable, not what it holds
REPOSITORIES: dict[str, str] = {
    "ADA": "IntersectMBO/cardano-node",
    "AVAX": "ava-labs/avalanchego",
    "BNB": "bnb-chain/bsc",
    "BTC": "bitcoin/bitcoin",
    "DOGE": "dogecoin/dogecoin",
    "DOT": "paritytech/polkadot-sdk",
    "ETH": "ethereum/go-ethereum",
    "LINK": "smartcontractkit/chainlink",
    "LTC": "litecoin-project/litecoin",
    "SOL": "anza-xyz/agave",
    "XRP": "XRPLF/rippled",
}
_EMPTY_REPOSITORY = 409


class GitHubCommits:
    """Reads ``GET /repos/{owner}/{repo}/commits``, window by window, following ``Link`` headers.

    A commit counts on the UTC day of its committer date; merges do not count; authors are told apart by
    e-mail, which is not kept. A day that a living repository passes without commits is 0. A repository that
    is **archived** is reported, and the days after its last push get no counts: the work went elsewhere,
    which is not the same as a project without work. ``repository_archived`` is 1 on these days and 0 on all
    others. A **fork** counts from the day on which it was created, and what its parent has committed too
    does not count: commits that it took over keep their hash and their date.

    Branch history is what it is today: rebases and late pushes change counts of days gone by, so re-reading
    some days finds revisions.

    Answers that had an ``ETag`` are asked for only if they changed, which GitHub does not count. Without a
    token it allows 60 requests an hour, with one 5,000. The token comes from the environment variable
    ``GITHUB_TOKEN`` and appears in no log and no error.

    Parameters
    ----------
    repositories : mapping, optional
        Base currency to ``owner/name``; `REPOSITORIES` by default.
    base_url : str
        Address of the service.
    patience : Patience
        Retries, waits and deadline. A spent hourly limit ends the reading at once if the wait is longer.
    min_interval : float
        Least seconds between requests.
    window : timedelta
        Days that are read, and yielded, together.
    """

    table = "commits"

    def __init__(
        self,
        repositories: Mapping[str, str] | None = None,
        base_url: str = "https://api.github.com",
        *,
        patience: Patience | None = None,
        min_interval: float = 0.5,
        window: timedelta = timedelta(days=30),
    ) -> None:
        self._repositories = dict(REPOSITORIES if repositories is None else repositories)
        self._base_url, self._patience, self._window = base_url, patience or Patience(), window
        self._interval = MinimumInterval(min_interval, self._patience.sleep)
        self._known: dict[str, Answer] = {}

    def pages(self, symbols: Sequence[str], start: datetime, end: datetime, now: Clock) -> Iterator[Reading]:
        """See `Connector.pages`."""
        with JsonClient(
            self._base_url,
            interval=self._interval,
            patience=self._patience,
            secret=Secret.from_environment(
                TOKEN_VARIABLE, place="header", name="Authorization", prefix="Bearer "
            ),
            headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
            known=self._known,
        ) as client:
            for symbol in symbols:
                repository = self._repositories.get(symbol.partition("/")[0].upper())
                if repository is None:
                    cause = "none is configured for this currency"
                    yield observations((), [unavailable(self.table, symbol, "no repository", cause)])
                else:
                    yield from self._repository_pages(client, symbol, repository, start, end, now)

    def _repository_pages(
        self,
        client: JsonClient,
        symbol: str,
        repository: str,
        start: datetime,
        end: datetime,
        now: Clock,
    ) -> Iterator[Reading]:
        about = client.get(f"repos/{repository}").body
        # A day is read whole or not at all, from its start.
        day, end = _next_day(start), _next_day(min(end, now()))
        stop = end
        parent: str | None = None
        if about.get("fork"):
            parent, created = about["parent"]["full_name"], floor(from_iso(about["created_at"]), DAY)
            yield observations((), [_forked(symbol, repository, parent, created)])
            day = max(day, created)
        if about.get("archived"):
            pushed = from_iso(about["pushed_at"])
            stop = min(stop, floor(pushed, DAY) + DAY)
            yield observations((), [_archived(symbol, repository, pushed)])
        while day < stop:
            until = min(stop, day + self._window)
            yield self._window_reading(client, symbol, repository, parent, day, until, now)
            day = until
        states = [("repository_archived", symbol, ts, 1.0) for ts in _days(max(day, stop), end)]
        if states:
            yield settled(states, SOURCE, now(), self.table)

    def _window_reading(
        self,
        client: JsonClient,
        symbol: str,
        repository: str,
        parent: str | None,
        first: datetime,
        until: datetime,
        now: Clock,
    ) -> Reading:
        shas: dict[datetime, set[str]] = defaultdict(set)
        authors: dict[datetime, set[str]] = defaultdict(set)
        inherited = (
            {commit["sha"] for commit in self._commits(client, parent, first, until)} if parent else set()
        )
        for commit in self._commits(client, repository, first, until):
            if commit["sha"] in inherited:
                continue
            details = commit["commit"]
            # Either person may be missing in commits that were imported from elsewhere.
            committer = details["committer"] or details["author"]
            author = details["author"] or details["committer"]
            ts = floor(from_iso(committer["date"]), DAY)
            if len(commit["parents"]) < 2 and first <= ts < until:
                shas[ts].add(commit["sha"])
                authors[ts].add((author.get("email") or author["name"]).lower())
        days = _days(first, until)
        values = [("commits", symbol, ts, float(len(shas[ts]))) for ts in days]
        values += [("commit_authors", symbol, ts, float(len(authors[ts]))) for ts in days]
        values += [("repository_archived", symbol, ts, 0.0) for ts in days]
        return settled(values, SOURCE, now(), self.table)

    def _commits(
        self, client: JsonClient, repository: str, first: datetime, until: datetime
    ) -> Iterator[dict[str, Any]]:
        path: str | None = f"repos/{repository}/commits"
        params: dict[str, str | int] = {
            "since": f"{first.isoformat()}Z",
            "until": f"{(until - timedelta(seconds=1)).isoformat()}Z",
            "per_page": 100,
        }
        asked = set[str]()
        while path is not None:
            if path in asked:
                raise DataError(f"no progress: the next page is {path} again", source=repository)
            asked.add(path)
            try:
                answer = client.get(path, params)
            except FetchError as error:
                if error.status == _EMPTY_REPOSITORY:
                    return
                raise
            yield from answer.body
            path, params = answer.next_url, {}


def _next_day(moment: datetime) -> datetime:
    day = floor(moment, DAY)
    return day if day == moment else day + DAY


def _days(first: datetime, until: datetime) -> list[datetime]:
    return [first + number * DAY for number in range((until - first) // DAY)]


def _forked(symbol: str, repository: str, parent: str, created: datetime) -> Finding:
    return Finding(
        "raw.commits",
        f"commits {symbol}",
        "venue_switch",
        "info",
        created,
        None,
        0,
        f"{repository} is a fork of {parent}: counted from {created:%Y-%m-%d}, without its parent's commits",
        "the history before belongs to the parent",
    )


def _archived(symbol: str, repository: str, pushed: datetime) -> Finding:
    return Finding(
        "raw.commits",
        f"commits {symbol}",
        "venue_switch",
        "warn",
        pushed,
        None,
        0,
        f"{repository} is archived; no rows after its last push at {pushed}. Name the repository that "
        "carries the work on",
        "development moved to another repository, or ended",
    )
