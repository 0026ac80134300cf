import java.nio.file.Files;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;

/**
 * Runs a topology exactly once, in one thread, until standard input ends. Words: BOOTSTRAP APPLICATION SOURCE TARGET,
 * then settings as NAME=VALUE; those that are not named are Kafka Streams' own.
 */
final class Streams {
    private Streams() {}

    static void run(StreamsBuilder builder, String[] words) throws Exception {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, words[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, words[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory("streams").toString());
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        for (int number = 4; number < words.length; number++) {
            String[] setting = words[number].split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.start();
        while (System.in.read() >= 0) {
            // nothing is said to it but the end
        }
        streams.close(Duration.ofSeconds(10));
        System.exit(0);
    }
}
