//! Object stores and local disks: opening them, and carrying files into them.
//!
//! It knows nothing of tables but where they lie.
//!
//! | file | owns |
//! |---|---|
//! | [`store`] | opening a location; what a store's error means |
//! | [`store_error`] | a store's error in its own words |
//! | [`client`] | the client of a cloud store: options, credentials, limits |
//! | `credentials` | credentials that are fetched, kept and renewed |
//! | [`profile`] | AWS profiles of the shared files |
//! | [`circuit_breaker`] | a circuit breaker around a cloud store |
//! | [`disk`] | a local store whose writes survive a power cut |
//! | [`probe`] | whether a store arbitrates between racing writers |
//! | [`upload`] | the way of a file's parts into the store |
//! | [`orphan_cleaner`] | discarded files, deleted until they are gone |
//! | [`parquet_object`] | reading Parquet from the store by ranges |

pub mod circuit_breaker;
pub mod client;
mod credentials;
pub mod disk;
pub mod orphan_cleaner;
pub mod parquet_object;
pub mod probe;
pub mod profile;
pub mod store;
pub mod store_error;
pub mod upload;
