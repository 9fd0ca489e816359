//! A forwarding pipeline: the configuration that a client gave, and what the switch makes of it.

use outplane_p4runtime::Schema;
use outplane_p4runtime::p4::config::v1::P4Info;
use outplane_p4runtime::p4::v1::ForwardingPipelineConfig;

use super::action::ActionCall;
use super::forwarding::next_generation;
use super::layout::Layout;
use super::limits::Limits;
use super::refusal::{Outcome, Refusal};

/// A pipeline that the switch can realize.
#[derive(Debug)]
pub struct Pipeline {
    config: ForwardingPipelineConfig,
    layout: Layout,
    generation: u64,
    outplane: bool,
}

impl Pipeline {
    /// Checks a configuration. `INVALID_ARGUMENT` with the reason where it has no P4Info, or one that contradicts
    /// itself or asks for what the switch hasn't got. The device config is kept and not looked at.
    pub fn new(config: ForwardingPipelineConfig, limits: &Limits) -> Outcome<Self> {
        let info =
            config.p4info.as_ref().ok_or_else(|| Refusal::invalid("the pipeline config has no P4Info"))?;
        Schema::from_p4info(info)
            .map_err(|error| Refusal::invalid(format!("the P4Info is not valid: {error}")))?;
        let layout =
            Layout::new(info, limits).map_err(|refusal| refusal.within("the P4Info can't be realized"))?;
        let outplane = is_outplane(info, &layout);
        Ok(Self { layout, generation: next_generation(), outplane, config })
    }

    /// The configuration as it was given.
    pub fn config(&self) -> &ForwardingPipelineConfig {
        &self.config
    }

    /// The P4Info, resolved.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A number that no other pipeline of this process has.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether this is `outplane.p4`, which the switch can forward by. Of other programs it only keeps the state.
    pub fn is_outplane(&self) -> bool {
        self.outplane
    }

    /// What a miss in a table does before anybody says otherwise.
    pub(crate) fn initial_default(&self, table: u32) -> Option<ActionCall> {
        let table = self.layout.tables.get(&table)?;
        let from_info = || table.initial_default.clone();
        if !self.outplane || table.alias != "policy_version" {
            return from_info();
        }
        // outplane.p4 says `default_action = set_version(0)`; P4Info has no place for it in the compiler's version.
        let (id, _) = table.actions.first()?;
        from_info().or_else(|| Some(ActionCall { id: *id, params: [0].into() }))
    }
}

/// Whether a P4Info is that of `outplane.p4`: by its name, and by having every table, action, counter, meter and
/// packet header that the committed one has, whatever the ids.
fn is_outplane(info: &P4Info, layout: &Layout) -> bool {
    if info.pkg_info.as_ref().is_none_or(|package| package.name != "outplane.p4") {
        return false;
    }
    let Ok(own) = Schema::from_text(outplane_p4::P4INFO) else { return false };
    Layout::new(own.p4info(), &Limits::default()).is_ok_and(|own| own.same_program(layout))
}
