//! Makes a failing sequence short: leaves out what is not needed for the failure.

use super::step::Step;

/// Leaves out steps, then single requests, as long as `fails` says that what remains still fails.
pub fn shrink(steps: Vec<Step>, mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut best = steps;
    let mut size = best.len().div_ceil(2);
    while size >= 1 {
        let mut at = 0;
        while at < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..(at + size).min(best.len()));
            if fails(&shorter) {
                best = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    let mut at = 0;
    while at < best.len() {
        let mut request = 0;
        while let Some(shorter) = without_request(&best, at, request) {
            if fails(&shorter) {
                best = shorter;
            } else {
                request += 1;
            }
        }
        at += 1;
    }
    best
}

/// The same steps, one request of a burst less; `None` when there is no such request.
fn without_request(steps: &[Step], at: usize, request: usize) -> Option<Vec<Step>> {
    let mut steps = steps.to_vec();
    match &mut steps[at] {
        Step::Burst { requests, .. } if requests.len() > 1 && request < requests.len() => {
            requests.remove(request);
        }
        Step::Connect { then, .. } if request < then.len() => {
            then.remove(request);
        }
        _ => return None,
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_one_needed_step() {
        let steps: Vec<Step> = (0..20).map(|slot| Step::Drop { slot }).collect();
        let needed = Step::Drop { slot: 13 };
        let small = shrink(steps, |steps| steps.contains(&needed));
        assert_eq!(small, vec![Step::Drop { slot: 13 }]);
    }
}
