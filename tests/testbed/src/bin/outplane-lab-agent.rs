//! The agent that runs in each host's namespace, see `outplane_testbed::Agent`.

fn main() -> anyhow::Result<()> {
    outplane_testbed::agent_program()
}
