//! The counter. Version 1 counts; version 2 also tells when it last did.

/// The counter's messages as of 1.0.0.
pub mod v1 {
    use midflight_guest::message;

    /// What can be told.
    #[message]
    pub enum Cast {
        /// One more.
        Increment,
    }

    /// What can be asked.
    #[message]
    pub enum Call {
        /// Answered with `Reply::Count`.
        GetCount,
    }

    /// The answers.
    #[message]
    pub enum Reply {
        /// How many increments there were.
        Count(u64),
    }
}

/// The counter's messages as of 2.0.0: those of 1.0.0, and more behind them.
pub mod v2 {
    use midflight_guest::message;

    pub use super::v1::Cast;

    /// What can be asked.
    #[message]
    pub enum Call {
        /// Answered with `Reply::Count`.
        GetCount,
        /// Answered with `Reply::Info`.
        GetInfo,
    }

    /// The answers.
    #[message]
    pub enum Reply {
        /// How many increments there were.
        Count(u64),
        /// All that the counter knows.
        Info(Info),
    }

    /// The counter's record.
    #[message]
    pub struct Info {
        /// How many increments there were.
        pub count: u64,
        /// What the migration set it to, or 1 since the last increment.
        pub increment_count: u64,
        /// Nanoseconds since 1970-01-01 UTC; none before the first increment.
        pub last_updated: Option<u64>,
    }
}

#[cfg(test)]
mod tests {
    use super::{v1, v2};
    use midflight_guest::Message;

    #[test]
    fn messages_of_version_1_mean_the_same_in_version_2() {
        let call = v1::Call::GetCount.encode().expect("encodes");
        assert_eq!(v2::Call::decode(&call), Ok(v2::Call::GetCount));
        let reply = v2::Reply::Count(7).encode().expect("encodes");
        assert_eq!(v1::Reply::decode(&reply), Ok(v1::Reply::Count(7)));
    }

    #[test]
    fn a_message_that_version_1_does_not_know_is_an_error() {
        let call = v2::Call::GetInfo.encode().expect("encodes");
        assert!(v1::Call::decode(&call).is_err());
    }
}
