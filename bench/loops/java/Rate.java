import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/** JSON events get a field more: the same work as that of the Python loops. */
public final class Rate {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final ObjectReader READER = MAPPER.readerFor(Event.class);
    private static final ObjectWriter WRITER = MAPPER.writerFor(Event.class);

    private Rate() {}

    public static final class Event {
        public String user;
        public long amount_minor;
        public String currency;
        public String merchant;
        public long at_ms;
        public long fee_minor;
    }

    private static byte[] rated(byte[] value) {
        try {
            Event event = READER.readValue(value);
            event.fee_minor = event.amount_minor / 100;
            return WRITER.writeValueAsBytes(event);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    public static void main(String[] words) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(words[2], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .mapValues(Rate::rated)
            .to(words[3], Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        Streams.run(builder, words);
    }
}
