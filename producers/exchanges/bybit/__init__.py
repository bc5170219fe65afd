from producers.exchanges.bybit.liquidations import ADAPTER as ADAPTER
