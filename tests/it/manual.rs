//! The manual and the completions, as the tools that read them take them.

use crate::shell::{CommandOutput, Place};
use std::process::Command;

/// True if that program is on this machine.
pub fn is_installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !found {
        eprintln!("not tested: there is no {program} on this machine");
    }
    found
}

#[test]
fn completions_complete_commands_and_options() {
    let place = Place::new();
    let script = |shell: &str| {
        let printed = place.run(&format!("completions {shell}"));
        assert_eq!((printed.exit, &*printed.err), (0, ""), "{shell}");
        let file = place.path(shell);
        std::fs::write(&file, printed.out).unwrap();
        file
    };
    let (bash, zsh, fish) = (script("bash"), script("zsh"), script("fish"));
    let complete = |words: &str| {
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _cashbox cashbox \"${{COMP_WORDS[COMP_CWORD]}}\" ''; echo \"${{COMPREPLY[*]}}\"",
            bash.display()
        );
        let asked = CommandOutput::from(Command::new("bash").args(["-c", &ask]).output().unwrap());
        assert_eq!(asked.exit, 0, "{}", asked.err);
        asked.out
    };
    assert_eq!(complete("cashbox rech").trim(), "recharge");
    assert_eq!(complete("cashbox lock rel").trim(), "release");
    assert_eq!(complete("cashbox completions f").trim(), "fish");
    assert!(complete("cashbox withdraw --").contains("--lock-token"), "{}", complete("cashbox withdraw --"));
    for (shell, file) in [("zsh", zsh), ("fish", fish)] {
        if is_installed(shell) {
            let checked = Command::new(shell).arg("-n").arg(&file).output().unwrap();
            assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    let unknown = place.run("completions tcsh");
    assert_eq!(unknown.exit, 2);
    assert!(unknown.err.contains("[possible values: bash, zsh, fish]"), "{}", unknown.err);
}

#[test]
fn manual_has_page_of_every_command() {
    let place = Place::new();
    let page = place.run("man");
    assert_eq!(page.exit, 0);
    assert!(page.out.contains(".TH cashbox 1") && page.out.contains("Exit codes:"), "{}", page.out);
    let lock_run = place.run("man lock run").out;
    assert!(lock_run.contains(".TH cashbox-lock-run 1"), "{lock_run}");
    assert_eq!(place.run("man --all pages").exit, 0);
    let mut pages: Vec<_> = std::fs::read_dir(place.path("pages")).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    assert!(pages.contains(&place.path("pages/cashbox.1")) && pages.contains(&place.path("pages/cashbox-lock-run.1")));
    assert!(!pages.contains(&place.path("pages/cashbox-lock-guard.1")));
    assert_eq!(std::fs::read_to_string(place.path("pages/cashbox-lock-run.1")).unwrap(), lock_run);
    for page in pages.iter().filter(|_| is_installed("man")) {
        let shown = Command::new("man").args(["--warnings", "-l"]).arg(page).env("MANPAGER", "cat").output().unwrap();
        assert!(
            shown.status.success() && shown.stderr.is_empty(),
            "{page:?}: {}",
            String::from_utf8_lossy(&shown.stderr)
        );
    }
    let wrong = place.run("man lock fly");
    assert_eq!((wrong.exit, &*wrong.err), (2, "\"fly\" is not a valid command of cashbox lock\n"));
    assert_eq!(place.run("man --all token/pages").exit, 0);
    std::fs::write(place.path("file"), "").unwrap();
    let refused = place.run("man --all file");
    assert_eq!(refused.exit, 3);
    assert!(refused.err.starts_with("cannot write file/cashbox.1: "), "{}", refused.err);
}
