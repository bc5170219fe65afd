-- What the JDBC sink cannot compute. Run it once, after the tables are there; the worker of liqcascade does not need it.

CREATE OR REPLACE FUNCTION jdbc_complete_liquidation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.notional_uusd := coalesce(NEW.notional_uusd, round(NEW.notional_usd * 1e6::double precision)::bigint);
    NEW.late := coalesce(NEW.late, false);
    NEW.received_time := nullif(NEW.received_time, to_timestamp(0));
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION jdbc_complete_received_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.received_time := nullif(NEW.received_time, to_timestamp(0));
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER jdbc_complete BEFORE INSERT ON liquidations
    FOR EACH ROW EXECUTE FUNCTION jdbc_complete_liquidation();
CREATE OR REPLACE TRIGGER jdbc_complete BEFORE INSERT ON open_interest
    FOR EACH ROW EXECUTE FUNCTION jdbc_complete_received_time();
CREATE OR REPLACE TRIGGER jdbc_complete BEFORE INSERT ON funding
    FOR EACH ROW EXECUTE FUNCTION jdbc_complete_received_time();
