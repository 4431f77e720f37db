package peer;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Records in Avro's single-object encoding to commands, and results to such records. Of one thread. */
final class Wire {
    private static final int FRAMING_BYTES = 10;
    private static final ByteBuffer NO_CHAIN = ByteBuffer.allocate(0);

    private final Map<Long, BinaryMessageDecoder<GenericRecord>> decoders;
    private final Schemas schemas;
    private final String results;
    private final GenericDatumWriter<GenericRecord> writer;
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(1024);
    private final long fingerprint;
    private final byte[] framing;
    private BinaryEncoder encoder;

    Wire(Schemas schemas, String results) {
        this.schemas = schemas;
        this.results = results;
        decoders = Map.of(fingerprint(schemas.connect()), decoder(schemas.connect()),
                fingerprint(schemas.disconnect()), decoder(schemas.disconnect()));
        writer = new GenericDatumWriter<>(schemas.result());
        fingerprint = fingerprint(schemas.result());
        framing = ByteBuffer.allocate(FRAMING_BYTES).order(ByteOrder.LITTLE_ENDIAN).put((byte) 0xc3).put((byte) 1)
                .putLong(fingerprint).array();
    }

    private static long fingerprint(Schema schema) {
        return SchemaNormalization.parsingFingerprint64(schema);
    }

    private static BinaryMessageDecoder<GenericRecord> decoder(Schema schema) {
        return new BinaryMessageDecoder<>(GenericData.get(), schema);
    }

    Schemas schemas() {
        return schemas;
    }

    /** Of the schema of results, as the ledger keeps it. */
    long fingerprint() {
        return fingerprint;
    }

    // ---- commands ----

    Command read(ConsumerRecord<String, byte[]> record) {
        GenericRecord fields = decode(record.value());
        String number = text(fields, "number");
        return new Command(UUID.fromString(text(fields, "command_id")), UUID.fromString(text(fields, "account_id")),
                fields.getSchema().getName(), text(fields, "correlation_id"), text(fields, "batch_id"), text(fields, "source_system"),
                text(fields, "actor"), text(fields, "channel_name"), canonical(number), number, record.topic(), record.partition(),
                record.offset(), record.timestamp());
    }

    private GenericRecord decode(byte[] value) {
        long schema = ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN).getLong(2);
        try {
            return decoders.get(schema).decode(value);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    private static String text(GenericRecord fields, String name) {
        Object value = fields.get(name);
        return value == null ? null : value.toString();
    }

    private static String canonical(String number) {
        return number.startsWith("00") ? "+" + number.substring(2) : number;
    }

    // ---- results ----

    /** The body, as the ledger keeps it. */
    byte[] result(Command command, Outcome outcome, long sequence, long appliedAt) {
        GenericRecord result = new GenericData.Record(schemas.result());
        envelope(result, command);
        decision(result, command, outcome);
        result.put("account_sequence", sequence);
        result.put("received_at", command.timestamp() * 1000);
        result.put("applied_at", appliedAt);
        result.put("source_topic", command.topic());
        result.put("source_partition", command.partition());
        result.put("source_offset", command.offset());
        result.put("chain", NO_CHAIN);
        return encode(result);
    }

    private static void envelope(GenericRecord result, Command command) {
        result.put("event_id", command.eventId().toString());
        result.put("command_id", command.id().toString());
        result.put("account_id", command.account().toString());
        result.put("command_type", command.type());
        result.put("correlation_id", command.correlationId());
        result.put("batch_id", command.batchId());
        result.put("source_system", command.sourceSystem());
        result.put("actor", command.actor());
        result.put("number", command.number());
        result.put("number_as_received", command.numberAsReceived());
    }

    private void decision(GenericRecord result, Command command, Outcome outcome) {
        Outcome.Channel channel = outcome.channel();
        Outcome.Reason reason = outcome.reason();
        result.put("outcome", outcome.name());
        result.put("status_code", reason == null ? command.successCode() : reason.status());
        result.put("channel_name", channel == null ? command.channelName() : channel.name());
        result.put("channel_version", channel == null ? null : channel.version());
        result.put("warnings", List.of());
        result.put("changes", outcome.changes() ? List.of(change(outcome)) : List.of());
        result.put("errors", reason == null ? List.of() : List.of(error(reason)));
        if (reason != null) {
            result.put("error_identifier", reason.identifier());
            result.put("error_message", reason.message());
            result.put("error_reason", reason.urn());
        }
    }

    private GenericRecord change(Outcome outcome) {
        GenericRecord change = new GenericData.Record(schemas.result().getField("changes").schema().getElementType());
        change.put("pointer", "/channel_name");
        change.put("before", outcome.before());
        change.put("after", outcome.after());
        return change;
    }

    private GenericRecord error(Outcome.Reason reason) {
        GenericRecord error = new GenericData.Record(schemas.result().getField("errors").schema().getElementType());
        error.put("reason", reason.urn());
        error.put("pointer", reason.pointer());
        error.put("message", reason.message());
        return error;
    }

    private byte[] encode(GenericRecord result) {
        bytes.reset();
        encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
        try {
            writer.write(result, encoder);
            encoder.flush();
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
        return bytes.toByteArray();
    }

    // ---- events ----

    ProducerRecord<String, byte[]> event(Command command, Provisioning.Answer answer) {
        byte[] value = ByteBuffer.allocate(FRAMING_BYTES + answer.body().length).put(framing).put(answer.body()).array();
        ProducerRecord<String, byte[]> event = new ProducerRecord<>(results, command.account().toString(), value);
        header(event, "ce_specversion", "1.0");
        header(event, "ce_id", command.eventId().toString());
        header(event, "ce_source", "/siptrunk/peer");
        header(event, "ce_type", "siptrunk.result.v1." + command.type());
        header(event, "ce_subject", command.channelName() == null ? command.number() : command.channelName());
        header(event, "ce_time", Instant.EPOCH.plus(answer.appliedAt(), ChronoUnit.MICROS).toString());
        header(event, "content-type", "application/avro");
        if (answer.errorReason() != null)
            header(event, "error-id", answer.errorReason());
        return event;
    }

    private static void header(ProducerRecord<String, byte[]> event, String name, String value) {
        event.headers().add(name, value.getBytes(StandardCharsets.UTF_8));
    }
}
