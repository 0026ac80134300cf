import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The verbs of tests/support/foreign.py with Apache Kafka's own client. */
public final class Client {
    private static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));

    private Client() {}

    private static void say(String json) {
        System.out.println(json);
        System.out.flush();
    }

    /** How tests/support/foreign.py says who the client is; nothing without it. */
    private static Properties settings() {
        Properties settings = new Properties();
        String user = System.getenv("CLIENT_USER");
        if (user != null) {
            settings.put("security.protocol", "SASL_SSL");
            settings.put("sasl.mechanism", "SCRAM-SHA-512");
            settings.put("sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"" + user
                    + "\" password=\"" + System.getenv("CLIENT_PASSWORD") + "\";");
            settings.put("ssl.truststore.type", "PEM");
            settings.put("ssl.truststore.location", System.getenv("CLIENT_CA"));
        }
        return settings;
    }

    private static KafkaProducer<String, String> producer(String bootstrap, String identity) {
        Properties settings = settings();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("acks", "all");
        settings.put("linger.ms", "2");
        if (identity != null) {
            settings.put("transactional.id", identity);
        }
        KafkaProducer<String, String> made =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        if (identity != null) {
            made.initTransactions();
        }
        return made;
    }

    private static KafkaConsumer<String, String> consumer(String bootstrap, String topic, String group, String protocol) {
        Properties settings = settings();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("group.protocol", protocol);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("isolation.level", "read_committed");
        settings.put("max.poll.records", "5");
        if (protocol.equals("classic")) {
            settings.put("heartbeat.interval.ms", "300");
            settings.put("session.timeout.ms", "6000");
        }
        KafkaConsumer<String, String> made =
            new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
        made.subscribe(List.of(topic), new Teller(made));
        return made;
    }

    /** Tells of every change the partitions that the member has then. */
    private static final class Teller implements ConsumerRebalanceListener {
        private final KafkaConsumer<String, String> consumer;

        Teller(KafkaConsumer<String, String> consumer) {
            this.consumer = consumer;
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> added) {
            tell();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
        }

        private void tell() {
            List<Integer> partitions = new ArrayList<>();
            for (TopicPartition place : consumer.assignment()) {
                partitions.add(place.partition());
            }
            say("{\"event\":\"assigned\",\"partitions\":" + partitions + "}");
        }
    }

    private static ProducerRecord<String, String> record(String topic, String value) {
        return new ProducerRecord<>(topic, 0, null, value);
    }

    private static void produce(String bootstrap, String topic, int count) throws Exception {
        try (KafkaProducer<String, String> made = producer(bootstrap, null)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int number = 0; number < count; number++) {
                sent.add(made.send(record(topic, Integer.toString(number))));
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
    }

    private static void consume(String bootstrap, String topic, String group, String protocol) throws Exception {
        AtomicBoolean ended = new AtomicBoolean();
        Thread watch = new Thread(() -> {
            try {
                while (INPUT.readLine() != null) {
                    // nothing is said to a consumer but the end
                }
            } catch (IOException gone) {
                // that is the end too
            }
            ended.set(true);
        });
        watch.setDaemon(true);
        watch.start();
        try (KafkaConsumer<String, String> made = consumer(bootstrap, topic, group, protocol)) {
            while (!ended.get()) {
                for (ConsumerRecord<String, String> got : made.poll(Duration.ofMillis(100))) {
                    TopicPartition place = new TopicPartition(topic, got.partition());
                    made.commitSync(Map.of(place, new OffsetAndMetadata(got.offset() + 1)));
                    say("{\"event\":\"record\",\"partition\":" + got.partition() + ",\"value\":\"" + got.value() + "\"}");
                }
            }
        }
    }

    private static void transact(String bootstrap, String topic, String identity, int rounds) throws Exception {
        try (KafkaProducer<String, String> made = producer(bootstrap, identity)) {
            for (int number = 0; number < rounds; number++) {
                made.beginTransaction();
                made.send(record(topic, Integer.toString(number))).get();
                if (number % 2 == 0) {
                    made.commitTransaction();
                } else {
                    made.abortTransaction();
                }
            }
        }
    }

    /** Each transaction is aborted once, and then done again. */
    private static void copy(
        String bootstrap, String source, String group, String target, String identity, int count
    ) throws Exception {
        try (
            KafkaProducer<String, String> writer = producer(bootstrap, identity);
            KafkaConsumer<String, String> reader = consumer(bootstrap, source, group, "classic")
        ) {
            for (int copied = 0; copied < count; ) {
                ConsumerRecords<String, String> records = reader.poll(Duration.ofMillis(200));
                if (records.isEmpty()) {
                    continue;
                }
                for (boolean commits : new boolean[] {false, true}) {
                    writer.beginTransaction();
                    for (ConsumerRecord<String, String> got : records) {
                        writer.send(record(target, got.value()));
                    }
                    writer.sendOffsetsToTransaction(records.nextOffsets(), reader.groupMetadata());
                    if (commits) {
                        writer.commitTransaction();
                    } else {
                        writer.abortTransaction();
                    }
                }
                copied += records.count();
            }
        }
    }

    private static void fenced(String bootstrap, String topic, String identity) throws Exception {
        KafkaProducer<String, String> made = producer(bootstrap, identity);
        made.beginTransaction();
        made.send(record(topic, "old")).get();
        say("{\"event\":\"open\"}");
        INPUT.readLine();
        try {
            made.commitTransaction();
            say("{\"event\":\"committed\"}");
        } catch (KafkaException refused) {
            say("{\"event\":\"fenced\",\"error\":\"" + refused.getClass().getSimpleName() + "\"}");
        }
    }

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "produce" -> produce(words[1], words[2], Integer.parseInt(words[3]));
            case "consume" -> consume(words[1], words[2], words[3], "classic");
            case "consume-848" -> consume(words[1], words[2], words[3], "consumer");
            case "transact" -> transact(words[1], words[2], words[3], Integer.parseInt(words[4]));
            case "copy" -> copy(words[1], words[2], words[3], words[4], words[5], Integer.parseInt(words[6]));
            case "fenced" -> fenced(words[1], words[2], words[3]);
            default -> throw new IllegalArgumentException(words[0]);
        }
        System.exit(0);
    }
}
