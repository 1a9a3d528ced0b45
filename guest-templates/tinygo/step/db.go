package step

import "example.com/order-check/step/json"

// ErrRow is the failure of rows that aren't what the step reads.
var ErrRow = Failed("row", "the rows are not what the step reads")

// Query gives the rows of one statement that only reads, on a database that the operator has named, as far as the
// step's permissions reach. $1, $2 are the parameters.
func Query(connection, sql string, params ...any) ([]json.Value, error) {
	list, err := marshal(params)
	if err != nil {
		return nil, err
	}
	text, err := hostQuery(connection, sql, list)
	if err != nil {
		return nil, err
	}
	table, err := json.Parse(text)
	if err != nil || table.Kind() != json.List {
		return nil, ErrRow
	}
	var rows []json.Value
	for _, row := range table.Items() {
		rows = append(rows, row)
	}
	return rows, nil
}

// Exec gives the number of rows that one statement changed.
func Exec(connection, sql string, params ...any) (changed uint32, err error) {
	list, err := marshal(params)
	if err != nil {
		return 0, err
	}
	return hostExecute(connection, sql, list)
}
