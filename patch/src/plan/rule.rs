//! What instructions must keep to, each rule with the code of its breach.

/// A rule for the instructions of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanRule {
    /// Before `point_of_no_return` stand fetching and checks, after it everything else.
    PointOfNoReturn,
    /// There is one `point_of_no_return`, and not two.
    SecondPointOfNoReturn,
    /// There is one `point_of_no_return`, and not none.
    NoPointOfNoReturn,
    /// What is suspended is resumed, each once.
    Paired,
    /// States are converted while their actors are suspended.
    Suspended,
    /// What is loaded was fetched by `load_object_code`.
    Fetched,
    /// Modules that are named are there, and those that are there are named.
    Module,
    /// Applications that are named are there, and those that are there are named.
    Application,
    /// What is added or removed does not depend on itself.
    Cycle,
    /// A module or an application has one instruction.
    Once,
    /// The program that runs the node stays.
    RestartRuntime,
    /// The vsns that a patch starts from do not include the one that it leads to.
    Pattern,
    /// Instructions, module entries and directions say the same.
    Agree,
}

impl PlanRule {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::PointOfNoReturn => "MF0250",
            Self::SecondPointOfNoReturn => "MF0251",
            Self::NoPointOfNoReturn => "MF0252",
            Self::Paired => "MF0253",
            Self::Suspended => "MF0254",
            Self::Fetched => "MF0255",
            Self::Module => "MF0256",
            Self::Application => "MF0257",
            Self::Cycle => "MF0258",
            Self::Once => "MF0259",
            Self::RestartRuntime => "MF0260",
            Self::Pattern => "MF0261",
            Self::Agree => "MF0262",
        }
    }
}
