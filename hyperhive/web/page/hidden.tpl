<input type="hidden" name="csrf" value="{{csrf}}"><input type="hidden" name="next" value="{{here}}">
