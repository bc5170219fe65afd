from producers.exchanges.okx.liquidations import ADAPTER as ADAPTER
