"""A server on 127.0.0.1 that answers like Binance, alternative.me, Coin Metrics, GitHub and CryptoPanic.

The shapes are the services' own: arrays that mix texts and integers, numbers as texts, ascending pages with
the service's limits, newest first where the service does so, error bodies with the service's codes.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Params = dict[str, str]
Response = tuple[int, dict[str, str], bytes]
HOUR_MS = 3_600_000


def ms(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def iso(moment: datetime) -> str:
    return moment.isoformat() + "Z"


def as_json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(body).encode()


def kline(open_time: int, price: float, volume: float = 12.5, bar_ms: int = HOUR_MS) -> list[Any]:
    """One kline as Binance writes it: twelve entries, prices and volumes as texts."""
    return [
        open_time,
        f"{price:.8f}",
        f"{price * 1.01:.8f}",
        f"{price * 0.99:.8f}",
        f"{price * 1.005:.8f}",
        f"{volume:.8f}",
        open_time + bar_ms - 1,
        f"{price * volume:.8f}",
        308,
        f"{volume / 2:.8f}",
        f"{price * volume / 2:.8f}",
        "0",
    ]


def _spot(name: str, status: str = "TRADING") -> dict[str, Any]:
    return {
        "symbol": name,
        "status": status,
        "baseAsset": name.removesuffix("USDT"),
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"},
        ],
        "permissions": ["SPOT"],
    }


def _perpetual(name: str) -> dict[str, Any]:
    return {
        "symbol": name,
        "pair": name,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "baseAsset": name.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.10", "maxPrice": "4529764", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC"],
    }


class VenueServer:
    """Serves what its fields hold; `faults` go out first, in order, for their path.

    Use as a context manager. `requests` records (path, parameters, headers) of everything that was asked.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.page_limit = 1000
        self.spot = {"BTCUSDT", "ETHUSDT", "SOLUSDT", "LUNAUSDT"}
        self.perpetuals = {"BTCUSDT", "SOLUSDT"}
        self.klines: dict[str, list[list[Any]]] = defaultdict(list)
        self.funding: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.open_interest: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.long_short: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.fear_greed: list[dict[str, str]] = []
        self.flows: dict[str, list[dict[str, Any]]] = {}
        self.repositories: dict[str, dict[str, Any]] = {}
        self.commits: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.posts: list[dict[str, Any]] = []
        self.faults: dict[str, deque[Callable[[Params], Response | None]]] = defaultdict(deque)
        self.requests: list[tuple[str, Params, dict[str, str]]] = []
        handler = type("Handler", (_Handler,), {"venue": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> VenueServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def ccxt_config(self) -> dict[str, Any]:
        """What points ccxt's Binance here, without its waits between requests."""
        api = {
            "public": f"{self.url}/api/v3",
            "fapiPublic": f"{self.url}/fapi/v1",
            "fapiData": f"{self.url}/futures/data",
        }
        return {"urls": {"api": api}, "rateLimit": 1, "timeout": 2000}

    def asked(self, path: str) -> list[Params]:
        return [params for asked, params, _ in self.requests if asked == path]

    def add_bars(self, market: str, start: datetime, count: int, price: float = 100.0) -> None:
        first = ms(start)
        self.klines[market] += [kline(first + n * HOUR_MS, price + n) for n in range(count)]

    def add_funding(self, market: str, stamps: list[datetime], rate: float = 0.0001) -> None:
        self.funding[market] += [
            {"symbol": market, "fundingTime": ms(at), "fundingRate": f"{rate:.8f}", "markPrice": ""}
            for at in stamps
        ]

    def add_statistics(self, market: str, start: datetime, count: int, step: timedelta) -> None:
        for number in range(count):
            stamp = ms(start + number * step)
            self.open_interest[market].append(
                {
                    "symbol": market,
                    "sumOpenInterest": "20403.63700000",
                    "sumOpenInterestValue": f"{150570784.07809979 + number:.8f}",
                    "timestamp": stamp,
                }
            )
            self.long_short[market].append(
                {
                    "symbol": market,
                    "longShortRatio": f"{1.5 + number / 1000:.4f}",
                    "longAccount": "0.6000",
                    "shortAccount": "0.4000",
                    "timestamp": stamp,
                }
            )

    def add_flows(self, asset: str, start: datetime, count: int, **extra: str) -> None:
        self.flows[asset] = [
            {
                "asset": asset,
                "time": f"{(start + timedelta(days=n)).isoformat()}.000000000Z",
                "FlowInExNtv": f"{1000 + n}.5",
                "FlowOutExNtv": f"{2000 + n}.25",
                **extra,
            }
            for n in range(count)
        ]

    def add_commit(self, repository: str, moment: datetime, email: str, *, parents: int = 1) -> None:
        """Add one commit as GitHub's REST API lists it, committed by the site itself."""
        self.repositories.setdefault(repository, {})
        sha = f"{len(self.commits[repository]):040x}"
        author = {"name": email.partition("@")[0], "email": email, "date": iso(moment - timedelta(days=9))}
        committer = {"name": "GitHub", "email": "noreply@github.com", "date": iso(moment)}
        self.commits[repository].append(
            {
                "sha": sha,
                "commit": {"author": author, "committer": committer, "message": "fix"},
                "parents": [{"sha": f"{sha}-{n}"} for n in range(parents)],
            }
        )

    def add_post(self, moment: datetime, codes: list[str], kind: str = "news", **votes: int) -> None:
        """Add one post as CryptoPanic lists it."""
        names = ("negative", "positive", "important", "liked", "disliked", "lol", "toxic", "saved")
        self.posts.append(
            {
                "id": len(self.posts) + 1,
                "title": f"post {len(self.posts) + 1}",
                "published_at": iso(moment),
                "created_at": iso(moment),
                "kind": kind,
                "instruments": [{"code": code, "title": code} for code in codes],
                "votes": {name: votes.get(name, 0) for name in names},
            }
        )

    def fail(
        self, path: str, status: int, body: object = "", headers: dict[str, str] | None = None, times: int = 1
    ) -> None:
        """Answer the next requests of ``path`` with an error."""
        if isinstance(body, str):
            response = status, {"Content-Type": "text/html", **(headers or {})}, body.encode()
        else:
            response = as_json(body, status, headers)
        self.faults[path].extend([lambda _: response] * times)

    def cut(self, path: str, times: int = 1) -> None:
        """Break the connection in the middle of the next answers, which promised more bytes."""

        def fault(params: Params) -> Response:
            status, headers, body = self.answer(path, params)
            return status, {**headers, "Content-Length": str(len(body))}, body[: len(body) // 2]

        self.faults[path].extend([fault] * times)

    def half_json(self, path: str, times: int = 1) -> None:
        """End the next answers in the middle of their JSON, with a length that fits."""

        def fault(params: Params) -> Response:
            status, headers, body = self.answer(path, params)
            return status, headers, body[: len(body) // 2]

        self.faults[path].extend([fault] * times)

    def delay(self, path: str, seconds: float, times: int = 1) -> None:
        """Let the next requests wait."""

        def fault(params: Params) -> Response:
            time.sleep(seconds)
            return self.answer(path, params)

        self.faults[path].extend([fault] * times)

    def replace(self, path: str, response: Callable[[Params], Response], times: int = 10_000) -> None:
        """Answer the next requests of ``path`` by a function of their parameters."""
        self.faults[path].extend([response] * times)

    def answer(self, path: str, params: Params, headers: dict[str, str] | None = None) -> Response:
        """Answer as the service does when all is well."""
        at = ms(self.now)
        match path:
            case "/api/v3/time" | "/fapi/v1/time":
                return as_json({"serverTime": at})
            case "/api/v3/exchangeInfo":
                body = [_spot(n, "BREAK" if n == "LUNAUSDT" else "TRADING") for n in sorted(self.spot)]
                return as_json({"timezone": "UTC", "serverTime": at, "rateLimits": [], "symbols": body})
            case "/fapi/v1/exchangeInfo":
                body = [_perpetual(n) for n in sorted(self.perpetuals)]
                return as_json({"timezone": "UTC", "serverTime": at, "rateLimits": [], "symbols": body})
            case "/api/v3/klines" | "/fapi/v1/klines":
                market = params["symbol"] + ("_PERP" if path.startswith("/fapi") else "")
                if market not in self.klines:
                    return as_json({"code": -1121, "msg": "Invalid symbol."}, 400)
                return as_json(_oldest(self.klines[market], params, lambda row: row[0], self.page_limit, at))
            case "/fapi/v1/fundingRate":
                rows = self.funding[params["symbol"]]
                return as_json(_oldest(rows, params, lambda row: row["fundingTime"], self.page_limit, at))
            case "/futures/data/openInterestHist" | "/futures/data/globalLongShortAccountRatio":
                if int(params.get("startTime", at)) < at - 30 * 24 * HOUR_MS:
                    return as_json({"code": -1130, "msg": "parameter 'startTime' is invalid."}, 400)
                held = self.open_interest if "openInterest" in path else self.long_short
                return as_json(_newest(held[params["symbol"]], params, lambda row: row["timestamp"], 500, at))
            case "/fng/":
                rows = sorted(self.fear_greed, key=lambda row: -int(row["timestamp"]))
                rows = rows[: int(params.get("limit", 1)) or None]
                body = [
                    {**row, "time_until_update": "40321"} if n == 0 else row for n, row in enumerate(rows)
                ]
                return as_json({"name": "Fear and Greed Index", "data": body, "metadata": {"error": None}})
            case "/v4/timeseries/asset-metrics":
                return self._flows(params)
            case "/posts/":
                return self._posts(params)
            case _ if path.startswith("/repos/"):
                return self._github(path, params, headers or {})
        return as_json({"code": 0, "msg": f"no such path {path}"}, 404)

    def _flows(self, params: Params) -> Response:
        asset = params["assets"]
        if asset not in self.flows:
            message = (
                f"Requested metric 'FlowInExNtv' with frequency '1d' for asset '{asset}' is not available "
                "with supplied credentials."
            )
            return as_json({"error": {"type": "forbidden", "message": message}}, 403)
        begin = params.get("next_page_token", params["start_time"])
        rows = [row for row in self.flows[asset] if begin <= row["time"][:19] < params["end_time"]]
        size = int(params["page_size"])
        body: dict[str, Any] = {"data": rows[:size]}
        if len(rows) > size:
            token = rows[size]["time"][:19]
            body["next_page_token"] = token
            query = urlencode({**params, "next_page_token": token})
            body["next_page_url"] = f"{self.url}/v4/timeseries/asset-metrics?{query}"
        return as_json(body)

    def _posts(self, params: Params) -> Response:
        if "auth_token" not in params:
            return as_json({"status": "api_error", "info": "Token not found"}, 401)
        wanted = set(params["currencies"].split(","))
        rows = [p for p in self.posts if wanted & {i["code"] for i in p["instruments"]}]
        rows.sort(key=lambda row: row["published_at"], reverse=True)
        number = int(params.get("page", 1))
        more = len(rows) > number * 20
        query = urlencode({**params, "page": number + 1})
        return as_json(
            {
                "next": f"{self.url}/posts/?{query}" if more else None,
                "previous": None,
                "results": rows[(number - 1) * 20 : number * 20],
            }
        )

    def _github(self, path: str, params: Params, headers: dict[str, str]) -> Response:
        _, _, owner, name, *rest = path.split("/")
        repository = f"{owner}/{name}"
        limits = {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "59", "X-RateLimit-Used": "1"}
        if repository not in self.repositories:
            return as_json({"message": "Not Found", "status": "404"}, 404, limits)
        if not rest:
            body: object = {"full_name": repository, "archived": False, **self.repositories[repository]}
        else:
            rows = [
                row
                for row in self.commits[repository]
                if params.get("since", "") <= row["commit"]["committer"]["date"] <= params.get("until", "9")
            ]
            rows.sort(key=lambda row: row["commit"]["committer"]["date"], reverse=True)
            size, number = int(params.get("per_page", 30)), int(params.get("page", 1))
            if len(rows) > size * number:
                query = urlencode({**params, "page": number + 1})
                limits["Link"] = (
                    f'<{self.url}{path}?{query}>; rel="next", <{self.url}{path}?{query}>; rel="last"'
                )
            body = rows[size * (number - 1) : size * number]
        tag = f'W/"{hash(json.dumps(body))}"'
        if headers.get("If-None-Match") == tag:
            return 304, {**limits, "ETag": tag}, b""
        return as_json(body, 200, {**limits, "ETag": tag})


def _window(rows: list[Any], params: Params, stamp: Callable[[Any], int], at: int) -> list[Any]:
    low, high = int(params.get("startTime", 0)), min(int(params.get("endTime", at)), at)
    return [row for row in rows if low <= stamp(row) <= high]


def _oldest(rows: list[Any], params: Params, stamp: Callable[[Any], int], most: int, at: int) -> list[Any]:
    """Binance's klines and funding: ascending from the start; the newest rows where no start is given."""
    limit = min(int(params.get("limit", 500)), most)
    found = _window(rows, params, stamp, at)
    return found[:limit] if "startTime" in params else found[-limit:]


def _newest(rows: list[Any], params: Params, stamp: Callable[[Any], int], most: int, at: int) -> list[Any]:
    """Binance's contract statistics: ascending, but the newest rows of the window."""
    return _window(rows, params, stamp, at)[-min(int(params.get("limit", 30)), most) :]


class _Handler(BaseHTTPRequestHandler):
    venue: VenueServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        params, headers = dict(parse_qsl(parts.query)), dict(self.headers.items())
        self.venue.requests.append((parts.path, params, headers))
        faults = self.venue.faults[parts.path]
        response = faults.popleft()(params) if faults else None
        status, answer_headers, body = response or self.venue.answer(parts.path, params, headers)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **answer_headers}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            return

    def log_message(self, *_: object) -> None:
        return
