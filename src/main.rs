//! The program: hands its arguments to the command line, and ends with the code that comes back.

use std::process::ExitCode;

use mimalloc::MiMalloc;

// A delivery costs a great many small allocations on its way, and the system's allocator more than a tenth of the time.
// Without huge pages: they would hold twice the memory and save no time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    expunged::cli::main()
}
