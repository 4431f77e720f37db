package peer;

import java.nio.charset.StandardCharsets;
import java.util.UUID;

/** A command and where it stood; the channel's name may be null in a DisconnectNumber. */
record Command(UUID id, UUID account, String type, String correlationId, String batchId, String sourceSystem, String actor,
        String channelName, String number, String numberAsReceived, String topic, int partition, long offset, long timestamp) {

    boolean connects() {
        return type.equals("ConnectNumber");
    }

    int successCode() {
        return connects() ? 201 : 204;
    }

    /** The same for each copy of the result. */
    UUID eventId() {
        return UUID.nameUUIDFromBytes((account + "/" + id).getBytes(StandardCharsets.UTF_8));
    }
}
