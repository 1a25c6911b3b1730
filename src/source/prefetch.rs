//! How much a Kafka client may fetch ahead: librdkafka's settings from a share of memory.
//!
//! It owns the arithmetic. What a client holds at most:
//!
//! | held | bounded by | of the share |
//! |---|---|---|
//! | bytes of queued records | `queued.max.messages.kbytes`, asked before each fetch | a quarter |
//! | librdkafka's own bytes per queued record | `queued.min.messages`, asked before each fetch | a quarter |
//! | the response that arrives and the records that it becomes, of every broker at once | `fetch.max.bytes` | half |
//!
//! A response is compressed, and nothing bounds what it becomes: up to
//! [`EXPANSION`] times its size fits the share. A batch larger than
//! `fetch.max.bytes` comes alone (KIP-74), so that no record is too large to pass.

use rdkafka::ClientConfig;

/// What librdkafka and the allocator hold for a queued record besides its bytes.
const RECORD_OVERHEAD: usize = 352;

/// How many times its size a compressed response becomes in memory, small records included.
const EXPANSION: usize = 7;

/// A response is no smaller: a round trip for every few records would cost more than it bounds.
const RESPONSE_MIN: usize = 64 << 10;

/// A response is no larger: more at once is no faster.
const RESPONSE_MAX: usize = 8 << 20;

/// What a client may hold that only takes a sample.
const SAMPLE_SHARE: usize = 16 << 20;

/// Limits of one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefetch {
    /// Bytes of records in the queue.
    queued_bytes: usize,
    queued_records: usize,
    /// Bytes of one broker's response, as it comes.
    response_bytes: usize,
}

impl Prefetch {
    /// What a client that reads from `brokers` may fetch within `share` bytes.
    pub fn within(share: usize, brokers: usize) -> Prefetch {
        let response = share / 2 / brokers.max(1) / (1 + EXPANSION);
        Prefetch {
            queued_bytes: share / 4,
            queued_records: share / 4 / RECORD_OVERHEAD,
            response_bytes: response.clamp(RESPONSE_MIN, RESPONSE_MAX),
        }
    }

    /// Enough for a look at a topic.
    pub fn for_a_sample() -> Prefetch {
        Prefetch::within(SAMPLE_SHARE, 1)
    }

    pub fn set(self, config: &mut ClientConfig) {
        let response = self.response_bytes.to_string();
        // At least one, at most what the setting holds.
        let kilobytes = (self.queued_bytes / 1000).clamp(1, 2_097_151);
        config.set("queued.max.messages.kbytes", kilobytes.to_string());
        config.set("queued.min.messages", self.queued_records.clamp(1, 10_000_000).to_string());
        // A producer's limit by name; the consumer's response may not be smaller than it.
        config.set("message.max.bytes", response.as_str());
        config.set("fetch.max.bytes", response.as_str());
        // Partitions take turns at being the first: one may fill the response.
        config.set("fetch.message.max.bytes", response);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::consumer::BaseConsumer;

    #[test]
    fn all_that_is_held_fits_the_share() {
        for share in [6 << 20, 27 << 20, 1 << 30] {
            for brokers in [1, 3, 6] {
                let limits = Prefetch::within(share, brokers);
                let responses = brokers * limits.response_bytes * (1 + EXPANSION);
                assert!(
                    limits.queued_bytes + limits.queued_records * RECORD_OVERHEAD + responses <= share,
                    "{share} {brokers}: {limits:?}"
                );
            }
        }
    }

    #[test]
    fn librdkafka_takes_the_settings_of_any_share() {
        for (share, brokers) in [(0, 0), (1, 1), (6 << 20, 100), (27 << 20, 1), (usize::MAX, 1)] {
            let mut config = ClientConfig::new();
            Prefetch::within(share, brokers).set(&mut config);
            config.set("group.id", "any");
            config.create::<BaseConsumer>().map(drop).unwrap();
        }
    }
}
