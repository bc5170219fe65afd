from producers.exchanges.binance.liquidations import ADAPTER as ADAPTER
