package peer;

import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** One thread: poll, each command in a database transaction of its own, then results and offsets in one Kafka transaction. */
final class Lane implements Runnable {
    private static final Duration POLL = Duration.ofMillis(100);

    private final Peer.Settings settings;
    private final KafkaConsumer<String, byte[]> consumer;
    private final KafkaProducer<String, byte[]> producer;
    private final Wire wire;
    private volatile boolean stopping;

    Lane(Peer.Settings settings, Schemas schemas, int index) {
        this.settings = settings;
        consumer = new KafkaConsumer<>(consumerSettings(settings), new StringDeserializer(), new ByteArrayDeserializer());
        producer = new KafkaProducer<>(producerSettings(settings, index), new StringSerializer(), new ByteArraySerializer());
        wire = new Wire(schemas, settings.results());
    }

    private static Map<String, Object> consumerSettings(Peer.Settings settings) {
        return Map.of(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, settings.bootstrap(),
                ConsumerConfig.GROUP_ID_CONFIG, settings.group(),
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 500);
    }

    /** A transactional producer is idempotent and waits for all replicas without being told. */
    private static Map<String, Object> producerSettings(Peer.Settings settings, int index) {
        return Map.of(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, settings.bootstrap(),
                ProducerConfig.TRANSACTIONAL_ID_CONFIG, settings.group() + "-" + index,
                ProducerConfig.LINGER_MS_CONFIG, 5,
                ProducerConfig.BATCH_SIZE_CONFIG, 64 * 1024);
    }

    @Override
    public void run() {
        try (consumer; producer; Provisioning provisioning = new Provisioning(settings.jdbc(), wire)) {
            producer.initTransactions();
            consumer.subscribe(List.of(settings.commands()));
            while (!stopping)
                round(consumer.poll(POLL), provisioning);
        } catch (WakeupException stopped) {
            return;
        } catch (SQLException failure) {
            throw new IllegalStateException(failure);
        }
    }

    private void round(ConsumerRecords<String, byte[]> records, Provisioning provisioning) throws SQLException {
        if (records.isEmpty())
            return;
        producer.beginTransaction();
        for (ConsumerRecord<String, byte[]> record : records) {
            Command command = wire.read(record);
            producer.send(wire.event(command, provisioning.apply(command)));
        }
        producer.sendOffsetsToTransaction(records.nextOffsets(), consumer.groupMetadata());
        producer.commitTransaction();
    }

    /** Called by another thread. */
    void stop() {
        stopping = true;
        consumer.wakeup();
    }
}
