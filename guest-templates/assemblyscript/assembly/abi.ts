// The canonical ABI of the component model, as far as steps need it: how values lie in memory between step and gateway.
//
// A string or a list is a pointer and a length, of 4 bytes each. A record has its fields one after the other, each at a
// multiple of its size. An option, a result or a variant has its case in one byte, and the value of the case behind it,
// here always at a multiple of 4. Strings are UTF-8.

/** Of a string or a list. */
export const PAIR_BYTES: usize = 8;

/** Before each piece of memory is the address of the piece that was taken before it. 16 bytes keep it aligned. */
const LINK_BYTES: usize = 16;

/** The newest piece of memory that holds arguments or a result on their way to the gateway. */
let newest: usize = 0;

/** By which the gateway takes memory for what it passes. `old` is 0 for memory that is new, which `heap.realloc` can't take. */
export function cabi_realloc(old: usize, _oldBytes: usize, alignment: usize, bytes: usize): usize {
  // No bytes need no memory, but an address that fits.
  if (bytes == 0) return alignment;
  return old == 0 ? heap.alloc(bytes) : heap.realloc(old, bytes);
}

/** Memory for a value on its way to the gateway, until `release`. All of it is zero. */
export function take(bytes: usize): usize {
  const piece = heap.alloc(LINK_BYTES + bytes);
  store<usize>(piece, newest);
  newest = piece;
  memory.fill(piece + LINK_BYTES, 0, bytes);
  return piece + LINK_BYTES;
}

/** Gives back all that `take` gave, the newest first: the order in which `--runtime stub` can use memory again. */
export function release(): void {
  while (newest) {
    const piece = newest;
    newest = load<usize>(piece);
    heap.free(piece);
  }
}

/** Puts a string's pointer and length to `at`. */
export function storeText(at: usize, text: string): void {
  const bytes = <usize>String.UTF8.byteLength(text);
  const memory = take(bytes);
  // What is no text, half a pair of surrogates, becomes U+FFFD: the gateway would end the call for it.
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, memory, false, String.UTF8.ErrorMode.REPLACE);
  storePair(at, memory, bytes);
}

export function storePair(at: usize, pointer: usize, length: usize): void {
  store<usize>(at, pointer);
  store<usize>(at, length, 4);
}

/** Puts an `option<string>` to `at`. */
export function storeOptionalText(at: usize, text: string | null): void {
  if (text === null) return;
  store<u8>(at, 1);
  storeText(at + 4, text);
}

/** Puts a `list<string>` to `at`. */
export function storeTexts(at: usize, texts: string[]): void {
  const list = take(<usize>texts.length * PAIR_BYTES);
  for (let index = 0; index < texts.length; index++) storeText(list + <usize>index * PAIR_BYTES, texts[index]);
  storePair(at, list, texts.length);
}

/** The string whose pointer and length are at `at`. Its memory, which the gateway took, is given back. */
export function loadText(at: usize): string {
  return takeText(load<usize>(at), load<usize>(at, 4));
}

export function takeText(pointer: usize, bytes: usize): string {
  const text = String.UTF8.decodeUnsafe(pointer, bytes);
  if (bytes) heap.free(pointer);
  return text;
}

/** The `option<string>` at `at`. */
export function loadOptionalText(at: usize): string | null {
  return load<u8>(at) ? loadText(at + 4) : null;
}

/** The bytes whose pointer and length are at `at`. */
export function loadBytes(at: usize): Uint8Array {
  const pointer = load<usize>(at);
  const length = load<usize>(at, 4);
  const bytes = new Uint8Array(<i32>length);
  if (!length) return bytes;
  memory.copy(bytes.dataStart, pointer, length);
  heap.free(pointer);
  return bytes;
}

/** AssemblyScript makes some text of any bytes. This tells UTF-8 (RFC 3629) from what is none. */
export function isUtf8(bytes: Uint8Array): bool {
  let at = bytes.dataStart;
  const end = at + bytes.length;
  while (at < end) {
    const first = <u32>load<u8>(at++);
    if (first < 0x80) continue;
    const more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (first < 0xc2 || first > 0xf4 || <i32>(end - at) < more) return false;
    // Of the second byte it depends on the first: no longer forms than needed, no surrogates, nothing past U+10FFFF.
    const second = <u32>load<u8>(at);
    const least: u32 = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const most: u32 = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (second < least || second > most) return false;
    for (let index = 1; index < more; index++) if ((load<u8>(at + index) & 0xc0) != 0x80) return false;
    at += more;
  }
  return true;
}
