// A step for `json.test.mjs`: its input is the name of a type, a colon, and a JSON text, which it reads as that type.

import { release, takeText } from "../assembly/abi";
import { Field, Kind, Reader, State } from "../assembly/json";
import { Outcome, completed, lowered, malformed } from "../assembly/sluice";
import { Writer } from "../assembly/writer";

export { cabi_realloc } from "../assembly/abi";

export function run(input: usize, inputBytes: usize): usize {
  const text = takeText(input, inputBytes);
  const colon = text.indexOf(":");
  return lowered(step(text.substring(0, colon), new Reader(text.substring(colon + 1))));
}

export function cabi_post_run(_outcome: usize): void {
  release();
}

class Pair {
  a: Field<string> = new Field<string>("");
  names: string[] = [];

  member(reader: Reader): void {
    const name = reader.name;
    if (reader.isNamed("a")) this.a.read(reader);
    else if (reader.isNamed("ü")) this.a.read(reader);
    else {
      this.names.push(name);
      reader.skip();
    }
  }
}

function step(type: string, reader: Reader): Outcome {
  const out = new Writer();
  if (type == "string") scalar<string>(reader, out, "");
  else if (type == "bool") scalar<bool>(reader, out, false);
  else if (type == "f64") scalar<f64>(reader, out, 0);
  else if (type == "i64") scalar<i64>(reader, out, 0);
  else if (type == "u64") scalar<u64>(reader, out, 0);
  else if (type == "i32") scalar<i32>(reader, out, 0);
  else if (type == "u8") scalar<u8>(reader, out, 0);
  else if (type == "json") out.text(reader.readJson());
  else if (type == "object") {
    const field = new Field<Pair>(new Pair());
    field.read(reader);
    out.openList().integer(field.state).integer(field.value.a.state).text(field.value.a.value);
    for (let index = 0; index < field.value.names.length; index++) out.text(field.value.names[index]);
    out.closeList();
  } else if (type == "kinds") {
    out.openList().integer(reader.kind);
    if (reader.openObject() == State.Given) {
      while (reader.nextMember()) {
        out.text(reader.name).integer(reader.kind).integer(reader.kind);
        out.json(reader.readJson());
      }
    }
    out.closeList();
  } else if (type == "list") {
    const state = reader.openList();
    out.openList().integer(state);
    if (state == State.Given) {
      while (reader.nextItem()) {
        const item = new Field<i64>(0);
        item.read(reader);
        out.integer(item.state).integer(item.value);
      }
    }
    out.closeList();
  } else reader.skip();
  if (!reader.end()) return malformed(reader);
  return completed(type == "skip" ? "true" : out.finish());
}

function scalar<T>(reader: Reader, out: Writer, none: T): void {
  const field = new Field<T>(none);
  field.read(reader);
  if (field.state == State.Missing) out.text("missing");
  else if (field.state == State.Malformed) out.text("malformed");
  else if (isString<T>()) out.text(<string>field.value);
  else if (isBoolean<T>()) out.bool(<bool>field.value);
  else if (isFloat<T>()) out.float(<f64>field.value);
  else if (isSigned<T>()) out.integer(<i64>field.value);
  else out.unsigned(<u64>field.value);
}
