import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.Stores;

/** Kafka Streams, two threads, window stores in memory with their cache and without changelogs. */
public final class Peer {
    static final long[][] WINDOWS_MS = {
        {100, 5_000}, {500, 5_000}, {2_000, 5_000}, {10_000, 5_000}, {60_000, 30_000}, {300_000, 30_000}};
    static final int STEPS = 10;
    static final String THREADS = "2";

    record Event(long timeMs, double usd) {}

    record Sums(long events, double usd) {}

    /** The two fields that are needed of the Avro record, the others passed over. */
    static Event decode(byte[] value) {
        ByteBuffer in = ByteBuffer.wrap(value);
        in.position(5);
        passText(in);  // event_id
        varint(in);  // exchange
        passText(in);  // asset
        passText(in);  // instrument
        varint(in);  // market
        varint(in);  // side
        in.position(in.position() + 16);  // price, quantity
        double usd = Double.longBitsToDouble(Long.reverseBytes(in.getLong()));
        varint(in);  // price_kind
        varint(in);  // completeness
        return new Event(varint(in), usd);
    }

    static long varint(ByteBuffer in) {
        long bits = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = in.get();
            bits |= (long) (next & 0x7f) << shift;
            if (next >= 0) return (bits >>> 1) ^ -(bits & 1);
        }
    }

    static void passText(ByteBuffer in) {
        long bytes = varint(in);
        in.position(in.position() + (int) bytes);
    }

    static Serde<Sums> sumsSerde() {
        Serializer<Sums> write = (topic, sums) -> sums == null ? null
            : ByteBuffer.allocate(16).putLong(sums.events()).putDouble(sums.usd()).array();
        Deserializer<Sums> read = (topic, bytes) -> {
            if (bytes == null) return null;
            ByteBuffer in = ByteBuffer.wrap(bytes);
            return new Sums(in.getLong(), in.getDouble());
        };
        return Serdes.serdeFrom(write, read);
    }

    static double cpuS() {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1e9;
    }

    public static void main(String[] arguments) {
        String brokers = arguments[0], topic = arguments[1];
        long wanted = Long.parseLong(arguments[2]);
        Serializer<Event> nobodyWrites = (name, event) -> new byte[0];
        Serde<Event> events = Serdes.serdeFrom(nobodyWrites, (name, bytes) -> decode(bytes));
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, Event> liquidations = builder.stream(topic, Consumed.with(Serdes.String(), events)
            .withTimestampExtractor((message, partitionTimeMs) -> ((Event) message.value()).timeMs()));
        for (long[] window : WINDOWS_MS) {
            Duration size = Duration.ofMillis(window[0]), grace = Duration.ofMillis(window[1]);
            liquidations.groupByKey()
                .windowedBy(TimeWindows.ofSizeAndGrace(size, grace).advanceBy(size.dividedBy(STEPS)))
                .aggregate(() -> new Sums(0, 0),
                    (key, event, sums) -> new Sums(sums.events() + 1, sums.usd() + event.usd()),
                    Materialized.<String, Sums>as(
                            Stores.inMemoryWindowStore("sums-" + window[0], size.plus(grace), size, false))
                        .withKeySerde(Serdes.String()).withValueSerde(sumsSerde())
                        .withLoggingDisabled().withCachingEnabled());
        }
        AtomicLong seen = new AtomicLong();
        double[] started = new double[2];
        liquidations.foreach((key, event) -> {
            long number = seen.getAndIncrement();
            if (number == 0) {
                started[1] = cpuS();
                started[0] = System.nanoTime() / 1e9;
            }
            if (number == wanted) {
                System.out.printf(Locale.ROOT, "{\"events\": %d, \"wall_s\": %f, \"cpu_s\": %f}%n",
                    wanted, System.nanoTime() / 1e9 - started[0], cpuS() - started[1]);
                Runtime.getRuntime().halt(0);
            }
        });
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "peer-kafka-streams");
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, THREADS);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, "state");
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        new KafkaStreams(builder.build(), settings).start();
    }
}
