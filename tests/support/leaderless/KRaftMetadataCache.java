package org.apache.kafka.metadata;

import java.util.Optional;
import java.util.function.Supplier;

import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.server.common.KRaftVersion;

/**
 * Kafka's own (which is renamed to KRaftMetadataCach0 for it) with one answer changed: a partition that exists and has
 * no leader now is known, without a node. So it was before the class was rewritten in Java (KAFKA-17573), and so
 * KAFKA-20734 wants it again.
 */
public class KRaftMetadataCache extends KRaftMetadataCach0 {
    public KRaftMetadataCache(int brokerId, Supplier<KRaftVersion> kraftVersion) {
        super(brokerId, kraftVersion);
    }

    @Override
    public Optional<Node> getPartitionLeaderEndpoint(String topic, int partition, ListenerName listener) {
        Optional<Node> found = super.getPartitionLeaderEndpoint(topic, partition, listener);
        boolean exists = contains(new TopicPartition(topic, partition));
        return found.isEmpty() && exists ? Optional.of(Node.noNode()) : found;
    }
}
