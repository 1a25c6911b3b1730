//! The demo: exactly-once shown on this machine, without Kafka.
//!
//! | file | owns |
//! |---|---|
//! | this | the story: produce, kill twice, drain, prove |
//! | [`place`] | the folder |
//! | [`record`] | what a record says |
//! | [`broker`] | the broker in this process and its producer |
//! | [`child`] | the ingesting process |
//! | [`follow`] | what the table has, from its log |
//! | [`screen`] | live figures |
//! | [`proof`] | the count, row by row |
//!
//! The story takes nothing from the ingesting process but its exit code.

mod broker;
mod child;
mod follow;
mod pause;
mod place;
mod proof;
mod record;
mod screen;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::Receiver;

use self::pause::pause;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::source::embedded::EmbeddedBroker;
use crate::stdout::print;
use crate::stores::store::Store;
use broker::{PARTITIONS, Producer, Shared};
use child::Ingester;
use follow::Follower;
use place::DemoDirectory;
pub use proof::Tamper;
use proof::{Produced, Proof};
use screen::{Figures, Screen, grouped};

const KILLS: u32 = 2;
const TICK: Duration = Duration::from_millis(10);
/// How long the table may take to have everything that was produced.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(15);
/// How much longer is produced when the kills come late.
const OVERTIME: Duration = Duration::from_secs(10);

pub struct Demo {
    pub dir: PathBuf,
    /// How long records are produced.
    pub seconds: u64,
    pub tamper: Option<Tamper>,
}

/// Runs the demo; a message on `stop` ends the production early.
pub fn run(demo: &Demo, stop: &Receiver<()>) -> Result<()> {
    let mut stage = Stage::set(demo)?;
    print(&format!(
        "A broker in this process, a table in {}/events, and a second process that is killed twice.",
        stage.place.shown
    ))?;
    stage.produce(demo.seconds, stop)?;
    stage.producer.stop()?;
    stage.catch_up()?;
    stage.ingester.drain()?;
    stage.screen.leave();
    if let Some(how) = demo.tamper {
        stage.table.runtime.block_on(proof::tamper(&stage.table.store, how))?;
        print(&format!("tampered with the table: {how:?}").to_lowercase())?;
    }
    stage.prove()
}

/// Everything that takes part. Fields are dropped in this order: the broker last.
struct Stage {
    ingester: Ingester,
    producer: Producer,
    _broker: EmbeddedBroker,
    place: DemoDirectory,
    table: Follower,
    screen: Screen,
    began: Duration,
    kills: u32,
    first_row: Option<Duration>,
    /// Since when the table stands still after a kill, and at how many rows.
    down: Option<(Duration, i64)>,
    recoveries: Vec<Duration>,
    /// What had been produced when: the age of what the table lacks.
    marks: VecDeque<(Duration, [i64; PARTITIONS])>,
}

impl Stage {
    fn set(demo: &Demo) -> Result<Stage> {
        let began = SystemClock.boot();
        let place = DemoDirectory::prepare(&demo.dir)?;
        let table = Follower::new(Store::open(&place.table_url()?, &Default::default())?)?;
        let broker = EmbeddedBroker::start(broker::TOPIC, PARTITIONS)?;
        place.write_config(&broker.address())?;
        let ingester = Ingester::start(&place.config, &place.log)?;
        let producer = Producer::start(&broker)?;
        Ok(Stage {
            ingester,
            producer,
            _broker: broker,
            place,
            table,
            screen: Screen::new(),
            began,
            kills: 0,
            first_row: None,
            down: None,
            recoveries: Vec::new(),
            marks: VecDeque::new(),
        })
    }

    /// Produces for the planned time, and kills on the way.
    fn produce(&mut self, seconds: u64, stop: &Receiver<()>) -> Result<()> {
        let planned = Duration::from_secs(seconds);
        while stop.recv_timeout(TICK).is_err() {
            self.look("producing")?;
            let elapsed = self.elapsed();
            // A kill hits a process that has written since it was started.
            let at_work = self.down.is_none() && self.first_row.is_some();
            if self.kills < KILLS && elapsed >= planned * (self.kills + 1) / (KILLS + 1) && at_work {
                self.kill()?;
            }
            let done = elapsed >= planned && self.kills == KILLS && self.down.is_none();
            if done || elapsed >= planned + OVERTIME {
                break;
            }
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        let at = self.elapsed();
        self.ingester.kill_and_restart()?;
        self.kills += 1;
        // What it had committed is read after its death: the next row is the new process's.
        self.table.catch_up()?;
        self.down = Some((at, self.table.rows()));
        Ok(())
    }

    /// Waits until the table's offsets are the produced ones. If that takes
    /// too long, the proof will say what is missing.
    fn catch_up(&mut self) -> Result<()> {
        let deadline = self.elapsed() + CATCH_UP_TIMEOUT;
        while self.table.rows() < self.producer.shared.produced() && self.elapsed() < deadline {
            pause(TICK);
            self.look("catching up")?;
        }
        Ok(())
    }

    /// Reads the table's log, lets the producer go on, shows the figures.
    fn look(&mut self, phase: &'static str) -> Result<()> {
        self.ingester.check()?;
        self.producer.shared.check()?;
        self.table.catch_up()?;
        let now = self.elapsed();
        let rows = self.table.rows();
        for (of, &committed) in self.producer.shared.partitions.iter().zip(&self.table.committed) {
            of.committed.store(committed, Ordering::Relaxed);
        }
        if rows > 0 {
            self.first_row.get_or_insert(now);
        }
        if let Some((since, stood)) = self.down
            && rows > stood
        {
            self.recoveries.push(now - since);
            self.down = None;
        }
        let freshness = self.freshness(now);
        let produced = self.producer.shared.produced();
        self.screen.show(&Figures {
            elapsed: now,
            phase,
            produced,
            bytes_per_record: self.producer.shared.bytes() as f64 / produced.max(1) as f64,
            rows,
            freshness,
            commits: self.table.commits(),
            files: self.table.files,
            kills: self.kills,
        })
    }

    fn freshness(&mut self, now: Duration) -> Duration {
        let produced = produced(&self.producer.shared).map(|of| of.next);
        if self.marks.back().is_none_or(|(_, last)| *last != produced) {
            self.marks.push_back((now, produced));
        }
        let there = |mark: &[i64; PARTITIONS]| mark.iter().zip(&self.table.committed).all(|(a, b)| a <= b);
        while self.marks.front().is_some_and(|(_, mark)| there(mark)) {
            self.marks.pop_front();
        }
        self.marks.front().map_or(Duration::ZERO, |(since, _)| now - *since)
    }

    fn prove(&self) -> Result<()> {
        let produced = produced(&self.producer.shared);
        let proof = self.table.runtime.block_on(proof::prove(&self.table.store, &produced))?;
        let dir = &self.place.shown;
        print(&self.times())?;
        print("")?;
        print(&verdict(&proof, self.kills))?;
        for line in proof::lines(&proof) {
            print(&format!("  {line}"))?;
        }
        print(&format!(
            "Try:   duckdb -c \"select count(*), max(_offset) from delta_scan('{dir}/events')\""
        ))?;
        print(
            "Next:  write a config for a topic of yours (docs/config.md), then: thalweg check -c thalweg.toml",
        )?;
        if proof.holds() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::No, "the table does not hold every record exactly once")
            .remedy(format!("the ingesting process logged to {}", self.place.log.display())))
    }

    fn times(&self) -> String {
        let seconds = |time: &Duration| format!("{:.2} s", time.as_secs_f64());
        let first = self.first_row.as_ref().map_or("never".to_owned(), seconds);
        let recoveries: Vec<String> = self.recoveries.iter().map(seconds).collect();
        let recoveries = if recoveries.is_empty() { "-".to_owned() } else { recoveries.join(", ") };
        let took = seconds(&self.elapsed());
        format!(
            "first row after {first}   next row after a kill {recoveries}   all of it, proof included, {took}"
        )
    }

    fn elapsed(&self) -> Duration {
        SystemClock.boot() - self.began
    }
}

fn verdict(proof: &Proof, kills: u32) -> String {
    let wrong = if proof.wrong > 0 { format!("wrong {}   ", grouped(proof.wrong)) } else { String::new() };
    format!(
        "produced {}   in table {}   missing {}   duplicate {}   {wrong}kills {kills}",
        grouped(proof.produced),
        grouped(proof.in_table),
        grouped(proof.missing),
        grouped(proof.duplicate)
    )
}

fn produced(shared: &Shared) -> [Produced; PARTITIONS] {
    std::array::from_fn(|partition| {
        let of = &shared.partitions[partition];
        Produced { next: of.produced.load(Ordering::Relaxed), checksum: of.checksum.load(Ordering::Relaxed) }
    })
}
