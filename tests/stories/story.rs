//! What one story has of its own: a directory, topics, configs, records.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::services::{self, OwnKafka};

/// The schema of [`Story::produce`]'s records.
pub const FLAT: &str = "id BIGINT NOT NULL, name STRING, price DOUBLE, ok BOOLEAN";
/// The time of record 0; record n is n seconds later.
pub const EPOCH_MS: i64 = 1_700_000_000_000;

pub struct Story {
    pub name: &'static str,
    pub brokers: &'static str,
    pub dir: PathBuf,
}

impl Story {
    /// `None` when services are left out: the story has been reported then.
    pub fn begin(name: &'static str) -> Option<Story> {
        let brokers = services::kafka(name)?;
        let dir = services::scratch().join(name);
        fs::create_dir_all(&dir).unwrap();
        Some(Story { name, brokers, dir })
    }

    /// The same on a broker of its own.
    pub fn on(self, kafka: &OwnKafka) -> Story {
        Story { brokers: kafka.bootstrap.clone().leak(), ..self }
    }

    /// Where a table of this story goes.
    pub fn place(&self, table: &str) -> String {
        services::path(&self.dir.join(table))
    }

    /// Writes a config: the common head, then what the story adds.
    pub fn config(&self, name: &str, body: &str) -> PathBuf {
        self.config_of(self.brokers, name, body)
    }

    pub fn config_of(&self, brokers: &str, name: &str, body: &str) -> PathBuf {
        self.config_with(&format!("brokers = \"{brokers}\""), name, body)
    }

    /// `kafka` is what stands under [kafka].
    pub fn config_with(&self, kafka: &str, name: &str, body: &str) -> PathBuf {
        let listen = if body.contains("[admin]") { "" } else { "[admin]\nlisten = \"127.0.0.1:0\"\n" };
        let text = format!(
            "version = 1\n[kafka]\n{kafka}\n[limits]\ncores = 2\npin = false\nmemory = \"256MiB\"\n{listen}{body}"
        );
        let file = self.dir.join(format!("{name}.toml"));
        fs::write(&file, text).unwrap();
        file
    }

    pub fn topic(&self, suffix: &str, partitions: i32) -> String {
        self.topic_with(suffix, partitions, &[])
    }

    pub fn topic_with(&self, suffix: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let topic = format!("{}-{suffix}", self.name);
        self.create(&topic, partitions, settings).unwrap();
        topic
    }

    fn create(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), RDKafkaErrorCode> {
        // The records' times lie in the past: retention must not see them as old.
        let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        let wanted = settings.iter().fold(wanted, |wanted, (key, value)| wanted.set(key, value));
        let admin = self.admin();
        let answers = block_on(admin.create_topics(&[wanted], &options())).unwrap();
        answers.into_iter().try_for_each(|answer| answer.map(drop).map_err(|(_, code)| code))?;
        // The broker that answers hears of it a moment later.
        let is_known = || {
            let answer = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
            answer.topics().iter().any(|known| known.error().is_none() && !known.partitions().is_empty())
        };
        while !is_known() {}
        Ok(())
    }

    pub fn delete(&self, topic: &str) {
        let answers = block_on(self.admin().delete_topics(&[topic], &options())).unwrap();
        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
    }

    /// Deletes a topic and creates another one of its name.
    pub fn create_again(&self, topic: &str, partitions: i32) {
        self.delete(topic);
        self.create_of_that_name(topic, partitions);
    }

    /// Creates a topic whose name was another's a moment ago.
    pub fn create_of_that_name(&self, topic: &str, partitions: i32) {
        // The name is free once the broker has let go of it.
        while let Err(code) = self.create(topic, partitions, &[]) {
            assert_eq!(code, RDKafkaErrorCode::TopicAlreadyExists, "{topic}");
        }
    }

    /// Deletes a partition's records before an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        let answer = block_on(self.admin().delete_records(&list, &options())).unwrap();
        answer.elements().iter().for_each(|element| element.error().unwrap());
    }

    pub fn grow(&self, topic: &str, partitions: usize) {
        let wanted = NewPartitions::new(topic, partitions);
        let answers = block_on(self.admin().create_partitions(&[wanted], &options())).unwrap();
        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
    }

    /// Puts the flat records of these numbers into one partition.
    pub fn produce(&self, topic: &str, partition: i32, numbers: impl Iterator<Item = i64>) {
        self.produce_texts(topic, partition, numbers.map(|number| (number, flat(number))));
    }

    pub fn produce_texts(&self, topic: &str, partition: i32, records: impl Iterator<Item = (i64, String)>) {
        self.produce_by(&self.producer(), topic, partition, records);
    }

    /// For who produces again and again: a producer's first record takes half a second.
    pub fn producer(&self) -> BaseProducer {
        self.client().set("compression.type", "lz4").create().unwrap()
    }

    pub fn produce_by(
        &self,
        producer: &BaseProducer,
        topic: &str,
        partition: i32,
        records: impl Iterator<Item = (i64, String)>,
    ) {
        for (number, text) in records {
            loop {
                let record = BaseRecord::<[u8], str>::to(topic)
                    .partition(partition)
                    .payload(&text)
                    .timestamp(EPOCH_MS + number * 1000);
                match producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        producer.poll(Duration::from_millis(20));
                    }
                    Err((error, _)) => panic!("{topic}: {error}"),
                }
            }
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Records that compress badly: few of them fill a file.
    pub fn produce_wide(&self, topic: &str, partition: i32, numbers: impl Iterator<Item = i64>) {
        self.produce_texts(topic, partition, numbers.map(|number| (number, wide(number, ""))));
    }

    /// Puts one record of any bytes into partition 0, at the time of record 0.
    pub fn produce_raw(&self, topic: &str, key: Option<&[u8]>, value: &[u8], headers: Option<OwnedHeaders>) {
        let producer: BaseProducer = self.client().create().unwrap();
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(value).timestamp(EPOCH_MS);
        record.key = key;
        record.headers = headers;
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("message.max.bytes", "8000000");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.brokers).create().unwrap()
    }
}

/// A record with a long name that is like no other; `more` stands behind it.
pub fn wide(number: i64, more: &str) -> String {
    let mut state = number as u64;
    let name: String = (0..4)
        .map(|_| {
            state = state.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            format!("{state:016x}")
        })
        .collect();
    format!("{{\"id\":{number},\"name\":\"{name}\"{more}}}")
}

pub fn flat(number: i64) -> String {
    let price = number as f64 / 8.0;
    match number % 5 {
        0 => format!(r#"{{"id":{number}}}"#),
        1 => format!(r#"{{"id":{number},"name":"n\u00e4me \"{number}\"","price":{price},"ok":true}}"#),
        2 => format!(r#"{{"ok":false,"price":-{price},"name":null,"id":-{number}}}"#),
        _ => format!(r#"{{"id":{number},"name":"river {number}","price":{price},"ok":null}}"#),
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap().block_on(future)
}

/// Choices that repeat: splitmix64.
pub struct Choices(pub u64);

impl Choices {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
