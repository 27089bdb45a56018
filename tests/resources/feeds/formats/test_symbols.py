from pathlib import Path

import pytest

from engine.errors import DataError
from resources.feeds.formats.symbols import (
    Market,
    asset_of,
    market_of_path,
    spell,
    symbol_in_name,
    token_of_venue,
)


@pytest.mark.parametrize(
    ("text", "market", "symbol"),
    [
        ("BTCUSDT", "spot", "BTC/USDT"),
        ("BTC_USDT", "spot", "BTC/USDT"),
        ("BTC-USDT", "spot", "BTC/USDT"),
        ("btc/usdt", "spot", "BTC/USDT"),
        ("BTCUSD", "spot", "BTC/USD"),
        ("1000SHIBUSDT", "perpetual", "1000SHIB/USDT:USDT"),
        ("BTCUSDT", "perpetual", "BTC/USDT:USDT"),
        ("BTCUSDT", "mark", "BTC/USDT:USDT"),
        ("BTC_USDT_USDT", "perpetual", "BTC/USDT:USDT"),
        ("BTC/USDT:USDT", "spot", "BTC/USDT:USDT"),
        ("BTC/USD:PERP", "perpetual", "BTC/USD:PERP"),
        ("XRP_ETH", "spot", "XRP/ETH"),
        ("ETHBTC", "spot", "ETH/BTC"),
        ("SPX", "spot", None),
        ("USDT", "spot", None),
        ("a b", "spot", None),
    ],
)
def test_spelling(text: str, market: Market, symbol: str | None) -> None:
    assert spell(text, market) == symbol


@pytest.mark.parametrize(
    ("path", "market", "symbol"),
    [
        ("spot/BTCUSDT-1h-2025-01.csv", "spot", "BTC/USDT"),
        ("futures_um/BTCUSDT-1h-2023-01.csv", "perpetual", "BTC/USDT:USDT"),
        ("binance_rest/fapi_v1_klines_BTCUSDT_1d.json", "perpetual", "BTC/USDT:USDT"),
        ("futures/XRP_USDT_USDT-1h-mark.feather", "mark", "XRP/USDT:USDT"),
        ("mark_1h/BTC_USDT_USDT.parquet", "mark", "BTC/USDT:USDT"),
        ("x/BNB_USDT_USDT-1h.parquet", "perpetual", "BNB/USDT:USDT"),
        ("spot_1h/BTC_USDT.parquet", "spot", "BTC/USDT"),
        ("eurusd/EURUSD_H1.csv", "spot", "EUR/USD"),
        ("x/BTC-USDT_2020.csv", "spot", "BTC/USDT"),
    ],
)
def test_names(path: str, market: Market, symbol: str) -> None:
    assert market_of_path(Path(path)) == market
    assert symbol_in_name(Path(path), market) == symbol


def test_a_name_without_a_symbol_is_refused() -> None:
    with pytest.raises(DataError, match="which symbol"):
        symbol_in_name(Path("prices_1h.csv"), "spot")


def test_assets_and_venues() -> None:
    assert [asset_of(s) for s in ("BTC/USDT:USDT", "BTC", "wBTC", "cbBTC", "ETH/BTC")] == ["BTC"] * 4 + [
        "ETH"
    ]
    assert token_of_venue(Path("x/BTC-USDT_bybit_2021-01-01.csv")) == "bybit"
    assert token_of_venue(Path("gate/BTC.csv")) == "gate"
    assert token_of_venue(Path("mandate/BTC.csv")) == ""
