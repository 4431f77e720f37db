package peer;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The worker's job as a team would write it first in Java, to be measured beside the worker: kafka-clients, pgjdbc and Avro's
 * library, one database transaction for each command, one Kafka transaction for each poll, a consumer, a producer and a
 * connection for each thread.
 *
 * <p>Each command takes effect once and is answered once: its effect and its result stand in the ledger by one transaction, and
 * results and offsets are committed together. What dies in between is delivered again and answered from the ledger. Results are
 * numbered without a gap, account by account, and have the schema and the headers of the worker's.
 *
 * <p>Left out, all of it work that the worker does: the chain and the MAC (so that a command id that is used again for another
 * command goes unnoticed), the fence by which a thread that lost its partition can store nothing, positions in the database and
 * the check that Kafka and database tell one story, the keys of commands, all commands but two, of these the expected
 * version, the dry run and warnings, the checks of texts, bounds on what an Avro body may claim, dead letters, reply topics,
 * trace context, metrics, health, and going on after an error: whatever fails ends the process, which somebody starts again.
 */
public final class Peer {
    private Peer() {
    }

    /** Arguments are name=value: see Settings. */
    public static void main(String[] arguments) throws Exception {
        Settings settings = Settings.of(arguments);
        Schemas schemas = Schemas.load(settings.schemas());
        List<Lane> lanes = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < settings.threads(); i++) {
            Lane lane = new Lane(settings, schemas, i);
            Thread thread = new Thread(lane, "lane-" + i);
            thread.setUncaughtExceptionHandler(Peer::fail);
            lanes.add(lane);
            threads.add(thread);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(lanes, threads)));
        threads.forEach(Thread::start);
    }

    private static void fail(Thread thread, Throwable reason) {
        System.err.println(thread.getName() + " failed");
        reason.printStackTrace();
        Runtime.getRuntime().halt(1);
    }

    private static void stop(List<Lane> lanes, List<Thread> threads) {
        lanes.forEach(Lane::stop);
        for (Thread thread : threads) {
            try {
                thread.join();
            } catch (InterruptedException interrupted) {
                return;
            }
        }
    }

    record Settings(String bootstrap, String commands, String results, String group, String jdbc, Path schemas, int threads) {
        static Settings of(String[] arguments) {
            Map<String, String> values = new HashMap<>();
            for (String argument : arguments) {
                String[] pair = argument.split("=", 2);
                values.put(pair[0], pair[1]);
            }
            return new Settings(values.get("bootstrap"), values.get("commands"), values.get("results"), values.get("group"),
                    values.get("jdbc"), Path.of(values.get("schemas")), Integer.parseInt(values.get("threads")));
        }
    }
}
