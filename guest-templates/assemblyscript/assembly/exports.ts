// What the component exports: for each function of the step one pair as below, and a line in the world of `wit/world.wit`.

import { release, takeText } from "./abi";
import { run as step } from "./index";
import { lowered } from "./outcome";

export { cabi_realloc } from "./abi";

export function run(input: usize, inputBytes: usize): usize {
  return lowered(step(takeText(input, inputBytes)));
}

/** Called when the gateway has read the outcome of `run`. */
export function cabi_post_run(_outcome: usize): void {
  release();
}
