package peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;

/** The schemas of the two commands and of the result, and the catalogue of errors by reason. */
record Schemas(Schema connect, Schema disconnect, Schema result, Map<String, JsonNode> errors) {

    static Schemas load(Path folder) throws IOException {
        Map<String, JsonNode> errors = new HashMap<>();
        for (JsonNode error : new ObjectMapper().readTree(folder.resolve("errors.json").toFile()).get("errors"))
            errors.put(error.get("reason").asText(), error);
        return new Schemas(parse(folder, "commands/ConnectNumber"), parse(folder, "commands/DisconnectNumber"),
                parse(folder, "results/CommandResult"), errors);
    }

    private static Schema parse(Path folder, String name) throws IOException {
        return new Schema.Parser().parse(folder.resolve(name + ".avsc").toFile());
    }

    Outcome.Reason reason(String name, String pointer) {
        JsonNode error = errors.get(name);
        return new Outcome.Reason(error.get("identifier").asText(), error.get("urn").asText(), error.get("message").asText(),
                error.get("status_code").asInt(), pointer);
    }
}
